"""``rayfold trials``: the table of a study's trials, from MLflow."""

from typing import Annotated

import typer

from rayfold.cli.options import Storage
from rayfold.cli.output import AllColumns, print_table


def trials(
    study: Annotated[str, typer.Argument(help="Name of a study.")],
    storage: Storage = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    all_columns: AllColumns = False,
) -> None:
    """Print a study's completed trials from MLflow, best first."""
    from rayfold.report.tables import logged_table
    from rayfold.tracking import read_study

    table = logged_table(read_study(study, storage=storage))
    if csv:
        typer.echo(table.to_csv(index=False).rstrip())
    else:
        print_table(table, all_columns=all_columns)

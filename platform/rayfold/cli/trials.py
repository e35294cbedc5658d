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
    failed: Annotated[
        bool, typer.Option("--failed", help="Show trials without a result, and why.")
    ] = False,
) -> None:
    """Print a study's completed trials from MLflow, best first, or those without a result."""
    from rayfold.report.tables import failed_table, logged_table
    from rayfold.tracking import read_study

    logged = read_study(study, storage=storage, completed_only=not failed)
    table = failed_table(logged) if failed else logged_table(logged)
    if csv:
        typer.echo(table.to_csv(index=False).rstrip())
    else:
        empty = "no failed trials" if failed else "no completed trials yet"
        print_table(table, all_columns=all_columns, empty=empty)

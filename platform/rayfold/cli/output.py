"""How commands print tables: as wide as the terminal, or with all columns."""

import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

AllColumns = Annotated[
    bool, typer.Option("--all", help="Show all columns, however wide the terminal is.")
]


def print_table(
    table: "pd.DataFrame", *, all_columns: bool = False, empty: str = "no completed trials yet"
) -> None:
    """Print a table; in a terminal only the columns that fit.

    Args:
        table: The table, its most important columns first.
        all_columns: Whether to print all of them.
        empty: Text for a table without rows.
    """
    from rayfold.report.tables import table_text

    whole = all_columns or not sys.stdout.isatty()
    width = None if whole else shutil.get_terminal_size().columns
    typer.echo(table_text(table, width=width, empty=empty))

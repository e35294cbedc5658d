"""The command line: one file per command."""

import sys

import typer

from rayfold.cli.app import app
from rayfold.errors import RayfoldError


def main() -> None:
    """Run the command line.

    Exit status: 0 done, 1 the recipe's ``accept`` is not met or all trials failed, 2 wrong input
    (one line on standard error), 130 interrupted.
    """
    try:
        status = app(sys.argv[1:] or ["--help"], prog_name="rayfold", standalone_mode=False)
    except typer.Abort:
        status = 130
    except typer.TyperException as error:
        status = _fail(error.format_message())
    except RayfoldError as error:
        status = _fail(str(error))
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> int:
    print(f"rayfold: {' '.join(message.split())}", file=sys.stderr)
    return 2

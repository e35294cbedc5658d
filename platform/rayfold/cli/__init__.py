"""The command line: one file per command."""

import errno
import sys

import typer

from rayfold.cli.app import app
from rayfold.errors import RayfoldError
from rayfold.storage import short_path
from rayfold.tracebacks import user_place

LONGEST_LINE = 2000


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
    except SystemExit as error:  # our commands raise none
        place = user_place(error)
        where = "" if place is None else f" ({place})"
        status = _fail(f"code that was loaded has called sys.exit({error.code!r}){where}.")
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        status = _fail(f"{short_path(error.filename)}: {error.strerror}.")
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> int:
    line = " ".join(message.split())
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    if len(line) > LONGEST_LINE:
        line = f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 2 :]}"
    print(f"rayfold: {line}", file=sys.stderr)
    return 2

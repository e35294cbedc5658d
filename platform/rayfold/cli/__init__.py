"""The command line: one file per command."""

import errno
import io
import os
import sys
from pathlib import Path

import typer

from rayfold.cli.app import app
from rayfold.cli.streams import OUTPUT, interrupted_by_signals, prepare_streams, silence_output
from rayfold.errors import RayfoldError, RecipeError, SuspendedError, TrackingError
from rayfold.machine import machine_fault
from rayfold.storage import short_path
from rayfold.tracebacks import user_place

LONGEST_LINE = 2000


def main() -> None:
    """Run the command line.

    Exit status:

    * 0: done.
    * 1: the recipe's ``accept`` is not met, or all trials failed.
    * 2: wrong input; one line on standard error, or one for each field of a recipe.
    * 75: a fault of the machine, or of Ray; one line on standard error. Run the same again to go
      on (``EX_TEMPFAIL`` of ``sysexits.h``).
    * 130: interrupted by Ctrl-C, SIGTERM or SIGHUP. Run the same again to go on.
    """
    prepare_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name may hold what it cannot show
    try:
        with interrupted_by_signals():
            status = app(sys.argv[1:] or ["--help"], prog_name="rayfold", standalone_mode=False)
            sys.stdout.flush()
    except (typer.Abort, KeyboardInterrupt):
        status = 130
    except typer.TyperException as error:
        status = _fail(error.format_message())
    except SuspendedError as error:
        status = _fail(str(error), os.EX_TEMPFAIL)
    except RecipeError as error:
        status = _fail_by_lines(str(error) or "the recipe is wrong.")
    except TrackingError as error:
        status = _fail(str(error))
    except SystemExit as error:  # our commands raise none
        pipe = error.__context__
        if isinstance(pipe, BrokenPipeError):
            if pipe.filename == OUTPUT:
                sys.exit(1)  # nobody reads what we print
            status = _fail(f"a process that this one needs has ended ({pipe}).", os.EX_TEMPFAIL)
        else:
            place = user_place(error)
            where = "" if place is None else f" ({place})"
            status = _fail(f"code that was loaded has called sys.exit({error.code!r}){where}.")
    except Exception as error:
        fault = machine_fault(error, Path.cwd())
        if isinstance(error, OSError) and error.filename == OUTPUT:
            silence_output()
            status = _fail(
                f"standard output cannot be written ({error.strerror}).", os.EX_TEMPFAIL
            )
        elif fault is not None:
            known = str(error).rstrip(".") if isinstance(error, RayfoldError) else fault
            again = "Repair it, then run the same command again."
            status = _fail(f"{known}. {again}", os.EX_TEMPFAIL)
        elif isinstance(error, RayfoldError):
            status = _fail(str(error))
        elif isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            status = _fail(f"{short_path(error.filename)}: {error.strerror}.")
        else:
            raise
    except BaseException as error:  # noqa: BLE001  neither ours nor a library's
        place = user_place(error)
        where = "" if place is None else f" ({place})"
        status = _fail(f"code that was loaded has raised {type(error).__name__}{where}.")
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int = 2) -> int:
    line = " ".join(message.split())
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    if len(line) > LONGEST_LINE:
        line = f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 2 :]}"
    print(f"rayfold: {line}", file=sys.stderr)
    return status


def _fail_by_lines(message: str) -> int:
    """Tell each line as an error of its own: a recipe's, each of which names its field."""
    return max(_fail(line) for line in message.splitlines())

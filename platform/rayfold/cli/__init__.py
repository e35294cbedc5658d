"""The command line: one file per command."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from rayfold.cli.app import app
from rayfold.errors import RayfoldError


def main() -> None:
    """Run the command line.

    Exit status: 0 done, 1 the recipe's ``accept`` is not met or all trials failed, 2 wrong input
    (one line on standard error), 130 interrupted, 143 terminated (of ``run`` 130: it ends in
    order, and can be gone on with).
    """
    with _terminable():
        try:
            status = app(sys.argv[1:] or ["--help"], prog_name="rayfold", standalone_mode=False)
        except typer.Abort:
            status = 130
        except typer.TyperException as error:
            status = _fail(error.format_message())
        except RayfoldError as error:
            status = _fail(str(error))
    sys.exit(status if isinstance(status, int) else 0)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the command as an error does, so that what is half-written goes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(message: str) -> int:
    print(f"rayfold: {' '.join(message.split())}", file=sys.stderr)
    return 2

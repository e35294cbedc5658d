"""A child process in which a user's code may hang, exit or crash."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1


@contextmanager
def child_process(
    module: str, *arguments: str, output: int, errors: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``python -m module`` in its own session, and end the session on leaving.

    Args:
        module: The module; its ``main`` begins with ``die_with_parent``.
        arguments: Its arguments.
        output: Target of its standard output, as for ``subprocess``.
        errors: File for its standard error.
    """
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    with errors.open("wb") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=stream,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
    try:
        yield child
    finally:
        end_session(child)
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def end_session(child: subprocess.Popen[bytes]) -> None:
    """End a child's session, including processes that the user's code has started."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def die_with_parent() -> None:
    """Let the system kill this process when its parent ends; only Linux can do this."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

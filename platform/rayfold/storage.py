"""Where a study keeps its files, and how a file appears there: whole, or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rayfold.errors import RecipeError
from rayfold.machine import lacks_space

MAX_PATH = 4096 - 256
"""Longest path of a storage: what is kept in it has longer ones, and Linux ends at 4096."""

STORE_FILE = "mlflow.db"
"""MLflow's SQLite file in a storage."""

ARTIFACTS = "artifacts"
"""Folder of MLflow's artifacts in a storage."""


def is_own_name(name: str) -> bool:
    """Tell whether a storage uses a name itself, so that no study can have it.

    SQLite keeps files beside its own: ``mlflow.db-journal``. Some file systems ignore case.
    """
    folded = name.casefold()
    return folded in (ARTIFACTS, STORE_FILE) or folded.startswith(f"{STORE_FILE}-")


def storage_folder(path: str | Path | None = None) -> Path:
    """Return the folder of a storage as an absolute path.

    Args:
        path: The folder, in which ``~`` is the home; None takes ``$RAYFOLD_STORAGE``, or
            ``rayfold-store`` in the present one.

    Raises:
        RecipeError: If no folder can have that path.
    """
    if path is None:
        path = os.environ.get("RAYFOLD_STORAGE") or "rayfold-store"
    try:
        folder = Path(path).expanduser().absolute()
    except RuntimeError as error:  # ~somebody
        raise RecipeError(f"storage {short_path(path)}: {error}; write the path out.") from None
    parts = [os.fsencode(part) for part in folder.parts]
    if "\0" in str(path):
        raise RecipeError(f"storage {short_path(folder)}: a path must not hold the character 0.")
    if max(map(len, parts)) > 255 or len(os.fsencode(folder)) > MAX_PATH:
        raise RecipeError(
            f"storage {short_path(folder)}: the path is too long, at most 255 bytes for a "
            f"name and {MAX_PATH} for all are possible."
        )
    return folder


def short_path(path: str | Path) -> str:
    """Return a path as an error shows it: in one line, and not longer than people read."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(path))
    return shown if len(shown) <= 300 else f"{shown[:150]}...{shown[-100:]}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on leaving, fsync it and rename it to ``path``.

    Whoever reads ``path`` sees the old file or the new one, never half of it, even after a
    crash. When the block raises, the temporary file goes and ``path`` stays as it was.

    Raises:
        OSError: ``ENOSPC`` when the block has failed, in whatever way, on a full disk: libraries
            raise errors of their own there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        open_to_readers(temporary)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except BaseException as error:
        full = isinstance(error, Exception) and lacks_space(error, path.parent)
        temporary.unlink(missing_ok=True)
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    fsync_folder(path.parent)


def open_to_readers(file: Path) -> None:
    """Let those read and write a file who may do so in its folder.

    Libraries that write through temporary files leave them to their owner alone; but others read
    studies and bundles on shared storage, too.
    """
    file.chmod(file.parent.stat().st_mode & 0o666)


def fsync_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

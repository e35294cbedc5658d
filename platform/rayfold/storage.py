"""The storage of studies, and files that appear there whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rayfold.errors import RecipeError
from rayfold.machine import lacks_space

MAX_PATH = 4096 - 256
"""Longest path of a storage: files in it have longer paths, and Linux allows 4096 bytes."""

STORE_FILE = "mlflow.db"
"""MLflow's SQLite file in a storage."""

ARTIFACTS = "artifacts"
"""Folder of MLflow's artifacts in a storage."""


def is_own_name(name: str) -> bool:
    """Tell whether the storage itself uses a name, so that no study can have it.

    SQLite makes files beside its database: ``mlflow.db-journal``. Some file systems ignore case.
    """
    folded = name.casefold()
    return folded in (ARTIFACTS, STORE_FILE) or folded.startswith(f"{STORE_FILE}-")


def storage_folder(path: str | Path | None = None) -> Path:
    """Return the folder of a storage as an absolute path.

    Args:
        path: The folder, which may begin with ``~``; None takes ``$RAYFOLD_STORAGE``, or
            ``rayfold-store`` in the current folder.

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
    """Return a path as errors show it: in one line, and shortened."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(path))
    return shown if len(shown) <= 300 else f"{shown[:150]}...{shown[-100:]}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on leaving, fsync it and rename it to ``path``.

    Readers of ``path`` see the old or the new file, never half of it, even after a crash. If the
    block raises, the temporary file is removed and ``path`` does not change.

    Raises:
        OSError: ``ENOSPC`` if the block fails with any error on a full disk; libraries raise
            errors of their own there.
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
    """Give a file the same read and write permissions as its folder.

    Libraries that write through temporary files make them readable only by their owner. On shared
    storage, other users also read studies and bundles.
    """
    file.chmod(file.parent.stat().st_mode & 0o666)


def fsync_folder(folder: Path) -> None:
    """Write the names in ``folder`` to the disk, so that they survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

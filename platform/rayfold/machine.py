"""Faults of the machine: a full disk, a broken file system, no memory, a network that is down.

They say nothing about a configuration. Work that meets one is repeated when it is over, and never
recorded as failed.
"""

import errno
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil

_SPACE = {errno.ENOSPC, errno.EDQUOT}
_FILES = {errno.EIO, errno.EROFS, errno.ESTALE, errno.EMFILE, errno.ENFILE}
_NETWORK = {
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENOTCONN,  # of a mounted file system whose server is gone
    errno.ETIMEDOUT,
}

_SPACE_TEXT = re.compile(r"No space left on device|Disk quota exceeded|disk is full")
_FILES_TEXT = re.compile(
    r"Read-only file system|Stale file handle|Input/output error|Too many open files"
)
_WRITE_TEXT = re.compile(  # NumPy's, PyTorch's
    r"\d+ requested and \d+ written|unexpected pos \d+ vs|iostream error|failed writing file"
)
_MEMORY_TEXT = re.compile(r"DefaultCPUAllocator: can't allocate memory|Cannot allocate memory")

_FULL_BYTES = 1 << 20
"""A file system with fewer free bytes is full, since a failed write may have used the rest."""

_SHORT_OF_MEMORY = 0.05
"""A machine is short of memory if a smaller share of it is available."""


def machine_fault(error: BaseException, folder: Path) -> str | None:
    """Return the fault of the machine that caused an error, in one line, or None.

    It also checks the error's causes and contexts, since a model's code or a library may have
    wrapped it. Some libraries write files and do not pass on the system's error; their texts are
    known. Short memory is a fault of the machine if another process holds most of it. A model that
    needs more memory than the machine has fails by itself.

    Args:
        error: The error.
        folder: Where the study writes; its file system is named if the error names no file.
    """
    for link in _chain(error):
        text = str(link)[:10_000]
        number = link.errno if isinstance(link, OSError) else None
        if number in _SPACE or _SPACE_TEXT.search(text) or _WRITE_TEXT.search(text):
            reason = os.strerror(number if number in _SPACE else errno.ENOSPC)
            return f"{reason} ({describe_space(_file_of(link) or folder)})"
        if number in _FILES or _FILES_TEXT.search(text):
            return _one_line(text)
        if number in _NETWORK or isinstance(link, socket.gaierror):
            return _one_line(text)
        if isinstance(link, MemoryError) or _MEMORY_TEXT.search(text):
            return _memory_fault()
    return None


def lacks_space(error: Exception, folder: Path) -> bool:
    """Tell whether a write to a folder has failed because the disk is full, with any error."""
    there = _existing(folder)
    usage = shutil.disk_usage(there)
    full = usage.free < _FULL_BYTES and usage.total > 0  # /proc and its like have no room at all
    return full or _lacks_files(there) or _SPACE_TEXT.search(str(error)) is not None


def describe_space(path: Path) -> str:
    """Return ``"3.1 MB of 8.0 GB free on /data"`` for the file system of a path.

    If no more files fit: ``"no room for one more of 65,536 files on /data"``.
    """
    there = _existing(path)
    usage = shutil.disk_usage(there)
    mount = next(folder for folder in (there, *there.parents) if folder.is_mount())
    if _lacks_files(there):
        return f"no room for one more of {os.statvfs(there).f_files:,} files on {mount}"
    return f"{_size(usage.free)} of {_size(usage.total)} free on {mount}"


def _lacks_files(there: Path) -> bool:
    """Tell whether a file system has no inode left; some do not count inodes."""
    status = os.statvfs(there)
    return status.f_files > 0 and status.f_favail == 0


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its causes and contexts."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        reason = getattr(link, "reason", None)  # urllib hides the system's error there
        if isinstance(reason, OSError):
            yield reason
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _memory_fault() -> str | None:
    memory = psutil.virtual_memory()
    used = memory.total - memory.available
    own = psutil.Process().memory_info().rss
    if memory.available > _SHORT_OF_MEMORY * memory.total or own > used / 2:
        return None
    return f"Out of memory ({_size(memory.available)} of {_size(memory.total)} available)"


def _file_of(error: BaseException) -> Path | None:
    name = error.filename if isinstance(error, OSError) else None
    return Path(os.fsdecode(name)) if isinstance(name, (str, bytes)) else None


def _existing(path: Path) -> Path:
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"

"""The append-only record of a study, from which it resumes.

Each line is a JSON object with its number, the time, the event and a checksum::

    {"sequence":0,"time":1767225600.25,"event":"run","state":"started","crc32":"1c291ca3"}

A line is valid if it is whole and its checksum is right. Each line is on the disk before
``append`` returns. So a process that is killed damages at most the line that it was writing.
"""

import fcntl
import json
import logging
import math
import os
import re
import socket
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rayfold.errors import JournalError, encodable
from rayfold.events import EVENTS, Event
from rayfold.storage import fsync_folder

__all__ = ["Entry", "Journal", "JournalReader", "read_journal"]

logger = logging.getLogger(__name__)

_CHECKSUM = re.compile(rb',"crc32":"([0-9a-f]{8})"}\Z')
_OWN_KEYS = ("sequence", "time", "event", "crc32")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a journal.

    Attributes:
        sequence: Number of the line, counted from 0.
        time: When it was written, Unix seconds.
        event: Name of the event: one of ``events.EVENTS``, or of a newer version.
        fields: Its fields, as plain JSON values.
    """

    sequence: int
    time: float
    event: str
    fields: Mapping[str, Any]

    def read(self) -> Event | None:
        """Return the event; None if this version does not know it."""
        kind = EVENTS.get(self.event)
        return None if kind is None else kind.from_fields(self.fields)


class Journal:
    """The one writer of a study's journal; a context manager.

    ``Journal.open`` makes one. ``append`` may be called from several threads.

    Attributes:
        path: The file.
        waits_after: Called when a line cannot be written; it waits and says whether to try again.
    """

    def __init__(self, path: Path, file: int, lock: int | None, num_entries: int):
        self.path = path
        self.waits_after: Callable[[JournalError], bool] = lambda error: False
        self._file = file
        self._lock = lock
        self._num_entries = num_entries
        self._mutex = threading.Lock()

    @classmethod
    def open(cls, path: str | Path, *, lock: bool = True) -> Self:
        """Create a journal, or open an existing one.

        A last line that a crash has damaged is cut off and logged.

        Args:
            path: The journal file; its folder is created if it is missing.
            lock: Refuse a second writer, on this machine or another that shares the folder.

        Raises:
            JournalError: If another process writes it, a line before the last is damaged, or its
                folder cannot be made.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(
                f"{path.parent}: the study's folder cannot be made ({error.strerror}); "
                "choose another storage."
            ) from error
        held = _acquire_lock(path) if lock else None
        file = -1
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            entries, num_bytes = _parse(path.read_bytes(), path, first=0)
            if (torn := os.fstat(file).st_size - num_bytes) > 0:
                logger.warning(
                    "%s: cut off a torn last line (%d bytes) that a crash left behind.", path, torn
                )
                os.ftruncate(file, num_bytes)
            os.lseek(file, 0, os.SEEK_END)
            os.fsync(file)
            fsync_folder(path.parent)
        except BaseException:
            for descriptor in (file, held):
                if descriptor is not None and descriptor >= 0:
                    os.close(descriptor)
            raise
        return cls(path, file, held, len(entries))

    def record(self, event: Event) -> Entry:
        """Write an event; see ``append``."""
        return self.append(event.event, **event.to_fields())

    def append(self, event: str, **fields: Any) -> Entry:
        """Write one line and wait until it is on the disk.

        Args:
            event: Name of the event.
            **fields: JSON values. NaN and infinities become null; characters that UTF-8 cannot
                hold become escapes.

        Returns:
            The entry as a reader will see it.

        Raises:
            JournalError: If the line cannot be written and ``waits_after`` gives up; the journal
                is then unchanged.
            TypeError: If a field is not a JSON value.
        """
        if taken := [name for name in fields if name in _OWN_KEYS]:
            raise ValueError(f"fields of an entry may not be named {taken[0]!r}; rename it.")
        while True:
            try:
                return self._append(event, fields)
            except JournalError as error:
                if not self.waits_after(error):
                    raise

    def _append(self, event: str, fields: Mapping[str, Any]) -> Entry:
        with self._mutex:
            if self._file < 0:
                raise JournalError(f"{self.path} is closed; open the journal again to write.")
            entry = Entry(
                sequence=self._num_entries,
                time=time.time(),
                event=event,
                fields=_storable(fields),
            )
            self._write(_encode(entry))
            self._num_entries += 1
        return entry

    def close(self) -> None:
        """Close and unlock the file; a second call does nothing."""
        with self._mutex:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        start = os.lseek(self._file, 0, os.SEEK_END)
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, start)  # on a full disk: nobody shall find half a line
            raise JournalError(
                f"{self.path}: an entry cannot be written ({error.strerror}); "
                "make room or repair the disk, then run the study again."
            ) from error


class JournalReader:
    """Follow a journal that another thread or process writes.

    Only whole lines are read; a journal that does not exist yet is empty.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._num_bytes = 0
        self._num_entries = 0

    def new_entries(self) -> list[Entry]:
        """Return the entries that were appended since the last call.

        Raises:
            JournalError: If a line other than the last is damaged.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._num_bytes)
                text = file.read()
        except FileNotFoundError:
            return []
        entries, num_bytes = _parse(text, self.path, first=self._num_entries)
        self._num_bytes += num_bytes
        self._num_entries += len(entries)
        return entries


def read_journal(path: str | Path) -> list[Entry]:
    """Return every entry of a journal without changing the file; skip a damaged last line.

    Raises:
        JournalError: If there is no such file, or a line other than the last is damaged.
    """
    path = Path(path)
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise JournalError(f"no journal at {path}; run the study first.") from error
    return _parse(text, path, first=0)[0]


def _encode(entry: Entry) -> bytes:
    record = {
        "sequence": entry.sequence,
        "time": entry.time,
        "event": entry.event,
        **entry.fields,
    }
    body = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    return body[:-1] + b',"crc32":"%08x"}\n' % zlib.crc32(body)


def _decode(line: bytes) -> Entry:
    """Read one line without its newline; ValueError says what is wrong with it."""
    checksum = _CHECKSUM.search(line)
    if checksum is None:
        raise ValueError("it has no checksum")
    body = line[: checksum.start()] + b"}"
    if zlib.crc32(body) != int(checksum[1], 16):
        raise ValueError("its checksum is wrong")
    record = json.loads(body)
    if b"\\ud" in body:  # written when texts were kept as they came
        record = _storable(record)
    return Entry(
        sequence=record.pop("sequence"),
        time=record.pop("time"),
        event=record.pop("event"),
        fields=record,
    )


def _parse(text: bytes, path: Path, *, first: int) -> tuple[list[Entry], int]:
    """Return the entries at the start of ``text``, and how many bytes they take.

    ``first`` is the number of entries before ``text``. A damaged last line, which a crash can
    leave, ends the entries. Damage before it is an error.
    """
    entries: list[Entry] = []
    start = 0
    while (end := text.find(b"\n", start)) >= 0:
        number = first + len(entries)
        try:
            entry = _decode(text[start:end])
            if entry.sequence != number:
                raise ValueError(f"it is numbered {entry.sequence} instead of {number}")
        except (ValueError, KeyError) as error:
            if end + 1 == len(text):
                break
            raise JournalError(
                f"{path} line {number + 1} is damaged: {error}; restore the file from a copy, "
                "or move the study's folder away to begin anew."
            ) from error
        entries.append(entry)
        start = end + 1
    return entries, start


def _storable(value: Any) -> Any:
    """Return ``value`` as JSON and UTF-8 can hold it.

    NaN and infinities become null, tuples lists, and characters that UTF-8 cannot hold escapes.
    """
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {encodable(str(key)): _storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(item) for item in value]
    return value


def _acquire_lock(path: Path) -> int:
    """Lock the file beside the journal, which names its writer; return the open descriptor."""
    try:
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise JournalError(
            f"{path} cannot be written ({error.strerror}); choose another storage, or make this "
            "one writable."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 200, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise JournalError(
            f"{path} is being written by process {holder}; wait until that study run ends, "
            "or stop it."
        ) from error
    except OSError as error:
        os.close(lock)
        raise JournalError(
            f"{path} cannot be locked ({error.strerror}); put the storage on a file system that "
            "can lock files."
        ) from error
    with suppress(OSError):  # on a full disk the lock holds without a name in it
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return lock

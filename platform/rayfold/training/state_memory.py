"""States of folds that a worker process has trained lately, in its memory as well as on disk."""

from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

FileIdentity: TypeAlias = tuple[int, int, int, int]

MAX_BYTES = 512 * 2**20
"""What a worker process keeps at most, 512 MiB: more would count beside a model in training."""


def file_identity(path: Path) -> FileIdentity | None:
    """Return what tells whether a file is still the same; None when it cannot be seen.

    It is the device, the inode, the time of the last change and the size. A hard link has the
    identity of what it links to; a copy has one of its own. An inode that is used again has
    another time of change.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


class StateMemory:
    """Keeps states under the identity of the file that each was written to.

    The file stays the truth, and is looked at each time. Since a state that another trial takes
    over is linked, it is found for that trial as well.

    Args:
        max_bytes: Bytes of tensors to keep at most; the oldest states go first, and one that is
            larger is not kept.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._states: dict[FileIdentity, dict[str, Any]] = {}

    def keep(self, identity: FileIdentity, state: dict[str, Any]) -> None:
        """Keep a state, moved to the CPU if need be; what is there already is not copied.

        Args:
            identity: That of its file.
            state: Tensors and plain values, which nobody changes from now on.
        """
        num_bytes = _num_bytes(state)
        if num_bytes > self._max_bytes:
            return
        self._states.pop(identity, None)
        while sum(map(_num_bytes, self._states.values())) + num_bytes > self._max_bytes:
            del self._states[next(iter(self._states))]
        self._states[identity] = _on_cpu(state)

    def find(self, path: Path) -> dict[str, Any] | None:
        """Return the state in a file, which must not be changed; None when it has to be read."""
        identity = file_identity(path)
        return None if identity is None else self._states.get(identity)


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(part) for part in value)
    return value


def _num_bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, dict):
        value = list(value.values())
    return sum(map(_num_bytes, value)) if isinstance(value, list | tuple) else 0

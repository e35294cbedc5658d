import errno
import os
import socket
import urllib.error
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rayfold.machine import describe_space, lacks_space, machine_fault
from rayfold.storage import replacing

Disk = tuple[Path, Callable[[str], None]]
LARGE = torch.zeros(1_000_000)  # 4 MB


def write_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, LARGE.numpy())


WRITERS: dict[str, Callable[[Path], object]] = {
    "bytes": lambda path: path.write_bytes(bytes(4_000_000)),
    "numpy": lambda path: write_array(path),
    "safetensors": lambda path: save_file({"weight": LARGE}, path),
    "torch": lambda path: torch.save({"weight": LARGE}, path),
}


def raised_by(function: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - each library has its own
        function()
    return raised.value


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_known_whichever_library_writes(writer: str, small_disk: Disk) -> None:
    folder, _ = small_disk
    error = raised_by(lambda: WRITERS[writer](folder / "file"))
    fault = machine_fault(error, folder)
    assert fault is not None
    assert fault.startswith("No space left on device (")
    assert f"of 1.05 MB free on {folder})" in fault


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_on_a_full_disk_is_an_error_of_the_system_and_leaves_nothing(
    writer: str, small_disk: Disk
) -> None:
    folder, enlarge = small_disk

    def write() -> None:
        with replacing(folder / "file") as temporary:
            WRITERS[writer](temporary)

    error = raised_by(write)
    assert isinstance(error, OSError)
    assert (error.errno, error.filename) == (errno.ENOSPC, str(folder / "file"))
    assert list(folder.iterdir()) == []
    enlarge("16m")
    write()
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_a_disk_without_room_for_another_file_says_so(small_disk: Disk) -> None:
    """Its root takes one of the two."""
    folder, enlarge = small_disk
    enlarge("1m,nr_inodes=2")
    (folder / "file").touch()
    error = raised_by(lambda: (folder / "another").touch())
    assert machine_fault(error, folder) == (
        f"No space left on device (no room for one more of 2 files on {folder})"
    )


def test_a_disk_with_room_is_not_full(small_disk: Disk) -> None:
    folder, enlarge = small_disk
    (folder / "file").write_bytes(bytes(500_000))
    assert lacks_space(ValueError("no"), folder / "not made yet")
    enlarge("16m")
    assert not lacks_space(ValueError("no"), folder)
    assert describe_space(folder / "file").endswith(f"of 16.8 MB free on {folder}")


@pytest.mark.parametrize(
    "number",
    [errno.EIO, errno.EROFS, errno.ESTALE, errno.EDQUOT, errno.ENETUNREACH, errno.ENOTCONN],
)
def test_an_error_of_the_system_is_known_by_its_number(number: int, tmp_path: Path) -> None:
    error = OSError(number, os.strerror(number), str(tmp_path / "file"))
    fault = machine_fault(error, tmp_path)
    assert fault is not None
    assert os.strerror(number) in fault


def test_a_fault_that_a_model_has_wrapped_is_known(tmp_path: Path) -> None:
    def wrapped() -> None:
        try:
            with Path("/dev/full").open("wb", buffering=0) as file:
                file.write(b"x")
        except OSError:
            raise ValueError("the cache cannot be written") from None

    def kept() -> None:
        try:
            wrapped()
        except ValueError:
            raise KeyError("cache") from OSError(errno.ENOSPC, "No space left on device")

    assert machine_fault(raised_by(kept), tmp_path) is not None
    assert machine_fault(raised_by(wrapped), tmp_path) is None  # it says that it has no cause


def test_a_network_that_is_down_is_known_behind_urllib(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        error = raised_by(lambda: urllib.request.urlopen(address))
    assert isinstance(error, urllib.error.URLError)
    assert "Connection refused" in (machine_fault(error, tmp_path) or "")


@pytest.mark.parametrize(
    "text", ["(sqlite3.OperationalError) database or disk is full", "Local disk is full"]
)
def test_a_full_disk_is_known_by_the_words_of_sqlite_and_ray(text: str, tmp_path: Path) -> None:
    fault = machine_fault(RuntimeError(text), tmp_path)
    assert fault is not None
    assert fault.startswith("No space left on device (")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        PermissionError(errno.EACCES, "Permission denied"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        FloatingPointError("fold 0 diverged"),
    ],
)
def test_all_else_is_no_fault_of_the_machine(error: Exception, tmp_path: Path) -> None:
    assert machine_fault(error, tmp_path) is None


def test_a_model_that_is_larger_than_the_machine_fails_by_itself(tmp_path: Path) -> None:
    for allocate in (lambda: torch.empty(10**15), lambda: np.empty(10**15)):
        assert machine_fault(raised_by(allocate), tmp_path) is None


def test_a_file_system_without_any_room_is_not_full() -> None:
    """What cannot be written in /proc will not be writable later either."""
    error = FileNotFoundError(2, "No such file or directory", "/proc/x.h5")
    assert not lacks_space(error, Path("/proc"))

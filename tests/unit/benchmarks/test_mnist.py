"""The data of the larger benchmarks, made from files in MNIST's own format."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import mnist
import numpy as np
import pytest

IMAGES = np.arange(5 * 28 * 28, dtype=np.uint64).astype(np.uint8).reshape(5, 28, 28)
LABELS = np.array([5, 0, 4, 1, 9], np.uint8)


def idx(array: np.ndarray) -> bytes:
    """The bytes of an IDX file: type and number of axes, sizes, values."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the two files of a training set of five digits, one of them packed."""
    (tmp_path / "images.gz").write_bytes(gzip.compress(idx(IMAGES)))
    (tmp_path / "labels").write_bytes(idx(LABELS))
    return tmp_path


def make(folder: Path, *options: str) -> Path:
    output = folder / "mnist.h5"
    mnist.main([str(folder / "images.gz"), str(folder / "labels"), str(output), *options])
    return output


def test_the_first_rows_are_taken(folder: Path) -> None:
    with h5py.File(make(folder, "--rows", "3")) as file:
        assert set(file) == {"features", "labels"}
        assert np.array_equal(file["features"], IMAGES[:3])
        assert file["features"].dtype == np.uint8
        assert file["labels"][()].tolist() == [5, 0, 4]
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def cut(folder: Path) -> None:
    (folder / "labels").write_bytes(idx(LABELS)[:-1])


def cut_packed(folder: Path) -> None:
    content = (folder / "images.gz").read_bytes()
    (folder / "images.gz").write_bytes(content[:-10])


def swap(folder: Path) -> None:
    (folder / "images.gz").write_bytes(idx(LABELS))


def mix(folder: Path) -> None:
    (folder / "labels").write_bytes(idx(LABELS[:4]))


def lose(folder: Path) -> None:
    (folder / "labels").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, r"labels holds 4 values, its head says 5; download it again\."),
        (cut_packed, r"images\.gz is cut short; download it again\."),
        (swap, r"images\.gz is no IDX file of bytes with 3 axes\."),
        (mix, r"images\.gz holds 5 images and .*labels 4 labels; both must be of the training"),
        (lose, r"No such file or directory: '.*labels'"),
    ],
)
def test_other_files_are_refused(
    folder: Path,
    damage: Callable[[Path], None],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(folder)
    with pytest.raises(SystemExit, match="2"):
        make(folder, "--rows", "3")
    assert re.search(message, capsys.readouterr().err)
    assert not (folder / "mnist.h5").exists()


def test_more_rows_than_there_are_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        make(folder)
    assert "--rows is 8000, expected 1 to 5." in capsys.readouterr().err

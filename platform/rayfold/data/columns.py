"""Data sets that run on through several HDF5 files, surveyed first and then read in one go."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from rayfold.data.hdf5 import Part, need_dataset, open_file, place, read_into, vet
from rayfold.errors import DataError

LARGE_BYTES = 2**30
MAX_PACKING = 500
"""How far more than ``LARGE_BYTES`` may be packed; gzip's limit, at equal values, is 1,032."""

_BLOCK_BYTES = 16 * 2**20
_LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True)
class Column:
    """One name, over all files: the rows of the files one after another.

    Attributes:
        name: The data set's path, the same in every file.
        parts: Its declaration in each file, in the order of the rows.
    """

    name: str
    parts: tuple[Part, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of all parts; ``object`` for strings."""
        return self.parts[0].dtype

    @property
    def num_rows(self) -> int:
        """Rows of all files together."""
        return sum(part.shape[0] for part in self.parts)

    def read(self) -> NDArray[Any]:
        """Return the values of all files, shape ``(rows, ...)``, in native byte order.

        Each file is read straight into its place in the one array.

        Raises:
            DataError: If a file is damaged or changed since the survey, or if a float is NaN,
                infinite or too large for float32.
        """
        values: NDArray[Any] = np.empty((self.num_rows, *self.parts[0].shape[1:]), self.dtype)
        start = 0
        for part in self.parts:
            rows = values[start : start + part.shape[0]]
            with open_file(part.path) as file:
                dataset = need_dataset(file, part.path, part.name)
                if vet(dataset, part.path, part.name) != part:
                    raise DataError(
                        f"{place(part.path, part.name)}: it changed while the files were read; "
                        "start again when nothing writes to it."
                    )
                read_into(dataset, part, rows)
            _check_finite(rows, part)
            start += part.shape[0]
        return values


def survey(files: Sequence[Path], names: Sequence[str]) -> tuple[Column, ...]:
    """Vet the named data sets in every file, without reading a value.

    Args:
        files: At least one file, in the order of the rows.
        names: The data sets that each file has to hold.

    Returns:
        One column for each name, in the order of ``names``.

    Raises:
        DataError: If a file or data set is refused, rows or types disagree, or the declared size
            is more than the memory available now.
    """
    parts = [_survey_file(path, names) for path in files]
    columns = tuple(
        Column(name, column) for name, column in zip(names, zip(*parts, strict=True), strict=True)
    )
    for column in columns:
        _check_same_kind(column)
    parts_of_all = [part for column in columns for part in column.parts]
    _check_memory(parts_of_all)
    for part in parts_of_all:
        _check_packing(part)
    return columns


def blocks(values: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield ``(first row, rows)`` in pieces small enough for temporary copies."""
    row_bytes = max(1, values.nbytes // max(1, len(values)))
    step = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, len(values), step):
        yield start, values[start : start + step]


def _survey_file(path: Path, names: Sequence[str]) -> list[Part]:
    with open_file(path) as file:
        parts = [vet(need_dataset(file, path, name), path, name) for name in names]
    for part in parts:
        if part.shape[0] != parts[0].shape[0]:
            raise DataError(
                f"{path}: data set {parts[0].name!r} has {parts[0].shape[0]} rows but "
                f"{part.name!r} has {part.shape[0]}; each row needs its entry in both."
            )
    return parts


def _check_same_kind(column: Column) -> None:
    first = column.parts[0]
    for part in column.parts[1:]:
        for what, one, other in (
            ("rows of shape", first.shape[1:], part.shape[1:]),
            ("values of type", _kind(first), _kind(part)),
        ):
            if one != other:
                raise DataError(
                    f"{place(part.path, part.name)}: it has {what} {other} but {first.path} has "
                    f"{one}; all files of a list need the same."
                )


def _kind(part: Part) -> str:
    return "text" if part.dtype.kind == "O" else str(part.dtype)


def _check_memory(parts: Sequence[Part]) -> None:
    needed = sum(part.num_bytes for part in parts) + max(part.chunk_bytes for part in parts)
    available = psutil.virtual_memory().available
    if needed > available:
        largest = max(parts, key=lambda part: part.num_bytes + part.chunk_bytes)
        raise DataError(
            f"{place(largest.path, largest.name)}: the data need {needed / 1e9:,.1f} GB of memory "
            f"(declared shape {largest.shape}, {_kind(largest)}) but {available / 1e9:,.1f} GB "
            "are available; use fewer rows, a smaller type or a larger machine."
        )


def _check_packing(part: Part) -> None:
    """Refuse values that take far more memory than the file holds: they may be a trap."""
    num_bytes = max(part.num_bytes, part.chunk_bytes)
    if num_bytes > LARGE_BYTES and num_bytes > MAX_PACKING * part.stored_bytes:
        raise DataError(
            f"{place(part.path, part.name)}: it unpacks to {num_bytes / 1e9:,.1f} GB from "
            f"{part.stored_bytes / 1e6:,.1f} MB in the file, more than {MAX_PACKING} to 1, as "
            "only constant values do; if they are right, store them without compression."
        )


def _check_finite(values: NDArray[Any], part: Part) -> None:
    if values.dtype.kind != "f":
        return
    count, first = 0, -1
    for start, block in blocks(values):
        with np.errstate(invalid="ignore"):
            faulty = ~(np.abs(block) <= _LARGEST)  # true for NaN too
        in_block = int(np.count_nonzero(faulty))
        if in_block and not count:
            first = start + int(np.argmax(faulty.reshape(len(block), -1).any(axis=1)))
        count += in_block
    if count:
        raise DataError(
            f"{place(part.path, part.name)}: {count} {'value is' if count == 1 else 'values are'} "
            f"NaN, infinite or beyond float32, the first in row {first} (counted from 0); "
            "remove these rows or fill in numbers."
        )

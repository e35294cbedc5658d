"""Columns that span several HDF5 files: all files are checked first, then read into one array."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from rayfold.data.precision import check_finite
from rayfold.data.sources.base import Column
from rayfold.data.sources.hdf5_files import (
    StoredArray,
    need_dataset,
    open_file,
    place,
    read_into,
    vet,
)
from rayfold.errors import DataError

LARGE_BYTES = 2**30
MAX_PACKING = 500
"""Largest compression ratio of data above ``LARGE_BYTES``. With gzip, equal values reach 1,032."""


def survey(files: Sequence[Path], names: Sequence[str]) -> tuple[Column, ...]:
    """Check the named data sets in every file, without reading a value.

    Args:
        files: At least one file, in the order of the rows.
        names: The data sets that each file must hold.

    Returns:
        One column for each name, in the order of ``names``.

    Raises:
        DataError: If a file or data set is refused, data sets differ in rows or types, or the
            declared size is above the available memory.
    """
    columns = [*zip(*(_survey_file(path, names) for path in files), strict=True)]
    for arrays in columns:
        _check_same_kind(arrays)
    arrays_of_all = [stored for arrays in columns for stored in arrays]
    _check_memory(arrays_of_all)
    for stored in arrays_of_all:
        _check_packing(stored)
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return tuple(
        Column(
            name=name,
            where=place(f"{files[0]}{more}", name),
            shape=_shape(arrays),
            dtype=arrays[0].dtype,
            read=partial(_read, arrays),
        )
        for name, arrays in zip(names, columns, strict=True)
    )


def _read(arrays: Sequence[StoredArray]) -> NDArray[Any]:
    """Return the values of all files, shape ``(rows, ...)``, in native byte order.

    Each file is read directly into its rows of the array.

    Raises:
        DataError: If a file is damaged or changed since the survey, or if a float is NaN,
            infinite or too large for float32.
    """
    values: NDArray[Any] = np.empty(_shape(arrays), arrays[0].dtype)
    start = 0
    for stored in arrays:
        rows = values[start : start + stored.shape[0]]
        where = place(stored.path, stored.name)
        with open_file(stored.path) as file:
            dataset = need_dataset(file, stored.path, stored.name)
            if vet(dataset, stored.path, stored.name) != stored:
                raise DataError(
                    f"{where}: it changed while the files were read; start again when nothing "
                    "writes to it."
                )
            read_into(dataset, stored, rows)
        check_finite(rows, where=where)
        start += stored.shape[0]
    return values


def _shape(arrays: Sequence[StoredArray]) -> tuple[int, ...]:
    return (sum(stored.shape[0] for stored in arrays), *arrays[0].shape[1:])


def _survey_file(path: Path, names: Sequence[str]) -> list[StoredArray]:
    with open_file(path) as file:
        arrays = [vet(need_dataset(file, path, name), path, name) for name in names]
    first = arrays[0]
    for stored in arrays:
        if stored.shape[0] != first.shape[0]:
            raise DataError(
                f"{path}: data set {first.name!r} has {first.shape[0]} rows but "
                f"{stored.name!r} has {stored.shape[0]}; each row needs its entry in both."
            )
    return arrays


def _check_same_kind(arrays: Sequence[StoredArray]) -> None:
    first = arrays[0]
    for stored in arrays[1:]:
        for what, one, other in (
            ("rows of shape", first.shape[1:], stored.shape[1:]),
            ("values of type", _kind(first), _kind(stored)),
        ):
            if one != other:
                raise DataError(
                    f"{place(stored.path, stored.name)}: it has {what} {other} but {first.path} "
                    f"has {one}; all files of a list must agree."
                )


def _kind(stored: StoredArray) -> str:
    return "text" if stored.dtype.kind == "O" else str(stored.dtype)


def _check_memory(arrays: Sequence[StoredArray]) -> None:
    needed = sum(stored.num_bytes for stored in arrays)
    needed += max(stored.chunk_bytes for stored in arrays)
    available = psutil.virtual_memory().available
    if needed > available:
        largest = max(arrays, key=lambda stored: stored.num_bytes + stored.chunk_bytes)
        raise DataError(
            f"{place(largest.path, largest.name)}: the data need {needed / 1e9:,.1f} GB of memory "
            f"(declared shape {largest.shape}, {_kind(largest)}) but {available / 1e9:,.1f} GB "
            "are available; use fewer rows, a smaller type or a larger machine."
        )


def _check_packing(stored: StoredArray) -> None:
    """Refuse values that unpack to far more than the file holds: this may be an attack."""
    num_bytes = max(stored.num_bytes, stored.chunk_bytes)
    if num_bytes > LARGE_BYTES and num_bytes > MAX_PACKING * stored.stored_bytes:
        raise DataError(
            f"{place(stored.path, stored.name)}: it unpacks to {num_bytes / 1e9:,.1f} GB from "
            f"{stored.stored_bytes / 1e6:,.1f} MB in the file, more than {MAX_PACKING} to 1; only "
            "constant values do this; if they are right, store them without compression."
        )

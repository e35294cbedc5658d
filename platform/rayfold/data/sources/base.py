"""What a source of rows is: it has columns, and each column has a role."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rayfold.data.inputs import Channels
from rayfold.data.precision import check_finite
from rayfold.errors import DataError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Roles:
    """What the columns of a source are for.

    Attributes:
        features: Names of the columns that models get, in the order of their inputs.
        labels: Name of the column that models predict.
        row_groups: Name of the column that holds the group of each row, such as a patient; rows of
            one group stay together. None: there is none.
        channels: Axis of the channels in rows of 3 or 4 axes, ``"first"`` or ``"last"``.
    """

    features: tuple[str, ...]
    labels: str
    row_groups: str | None = None
    channels: Channels = "first"

    def __post_init__(self) -> None:
        if not isinstance(self.features, tuple | list):
            raise DataError(
                f"features of Roles must be a tuple of names, got {self.features!r}; write "
                'features=("x",) for one column x.'
            )
        if len(set(self.features)) < len(self.features):
            raise DataError(f"features of Roles must differ, got {self.features!r}.")
        if self.channels not in ("first", "last"):
            raise DataError(f"channels of Roles is 'first' or 'last', got {self.channels!r}.")
        if not self.features or self.labels in (*self.features, self.row_groups):
            raise DataError(
                "a source needs features, and labels that are neither features nor row groups; "
                f"got features {self.features}, labels {self.labels!r} and row groups "
                f"{self.row_groups!r}."
            )

    @property
    def names(self) -> list[str]:
        """The names of all columns, each once."""
        groups = [] if self.row_groups is None else [self.row_groups]
        return [*dict.fromkeys([*self.features, self.labels, *groups])]


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """A named column: a value or an array for each row. ``read`` reads the values.

    Attributes:
        name: Its name.
        where: The name of the column in messages, with its file if it has one.
        shape: Shape of all values: rows first, at least one row.
        dtype: Booleans, integers, floats, or ``object`` for text.
        read: Returns the values as they are stored. Raises DataError if they cannot be read, or
            if a float is NaN, infinite or too large for float32.
    """

    name: str
    where: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], NDArray[Any]]

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self.shape[0]

    def values(self) -> NDArray[Any]:
        """Return what ``read`` returns.

        Raises:
            DataError: If the values cannot be read, or have another shape or type.
        """
        values = self.read()
        is_array = isinstance(values, np.ndarray)
        if not is_array or (values.shape, values.dtype) != (self.shape, self.dtype):
            came = f"{values.dtype} of shape {values.shape}" if is_array else type(values).__name__
            raise DataError(
                f"{self.where}: read() must return an array of {self.dtype} of shape "
                f"{self.shape}, as the column says, got {came}."
            )
        return values


class Source(ABC):
    """Where rows come from. It knows nothing of tasks, test rows or folds.

    A source must give the same rows in the same order each time. Only the process that plans or
    starts a study reads the source. Workers get the rows from this process.
    """

    @abstractmethod
    def roles(self) -> Roles:
        """Return what the columns are for.

        Raises:
            DataError: If the source cannot find this out.
        """

    @abstractmethod
    def columns(self, names: Sequence[str]) -> Sequence[Column]:
        """Return columns, checked but not read. All have the same number of rows.

        Args:
            names: Names of columns, no name twice. They need not be in ``roles()``.

        Returns:
            A column for each name, in that order.

        Raises:
            DataError: If there is no column with one of the names.
        """

    def files(self) -> Mapping[Path, int]:
        """Return the files that hold the rows, in the order of the rows, with their row counts.

        By default there are no files.
        """
        return {}

    def describe(self) -> Mapping[str, Any]:
        """Return what a study records of the source, as plain JSON values.

        A study does not resume if this has changed. By default nothing is recorded. The study then
        resumes with any source that gives the same rows.
        """
        return {}

    def under(self, base: Path) -> Self:
        """Return the same source with its relative paths below the folder ``base``."""
        return self


def columns_of(arrays: Mapping[str, Any], names: Sequence[str]) -> tuple[Column, ...]:
    """Return columns whose values are in memory.

    Args:
        arrays: Every column of the source: its name, and an array or a list of values, rows first.
        names: Names of the columns to return.

    Raises:
        DataError: If there is no column with one of the names, or a column has no rows or a type
            that is not supported.
    """
    for name in names:
        if name not in arrays:
            known = [*arrays]
            raise DataError(
                f"there is no column {name!r}{did_you_mean(name, known)}; the columns are "
                f"{', '.join(map(repr, known))}."
            )
    return tuple(_in_memory(name, _array(name, arrays[name])) for name in names)


def read_features(columns: Sequence[Column]) -> tuple[NDArray[Any], ...]:
    """Return the values of feature columns.

    Raises:
        DataError: If a column holds text or cannot be read.
    """
    for column in columns:
        if column.dtype.kind == "O":
            raise DataError(
                f"{column.where}: features must be numbers, got text; store each category as a "
                "number."
            )
    return tuple(column.values() for column in columns)


def _array(name: str, values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(
            f"column {name!r}: its rows do not make an array; give every row the same number of "
            f"values (NumPy: {' '.join(str(error).split()).removesuffix('.')})."
        ) from None


def _in_memory(name: str, values: NDArray[Any]) -> Column:
    where = f"column {name!r}"
    kind = values.dtype.kind
    values = values.astype(object if kind == "U" else values.dtype.newbyteorder("="), copy=False)
    is_text = kind == "U" or (kind == "O" and all(isinstance(v, str) for v in values.flat))
    if not is_text and (kind not in "biuf" or values.dtype.itemsize > 8):
        raise DataError(
            f"{where}: its type {values.dtype} is not supported; give integers, floats of at most "
            "64 bits, booleans or text."
        )
    if values.ndim and not len(values):
        raise DataError(f"{where}: it has no rows; a source needs at least one row.")
    if not values.size or not values.ndim:
        raise DataError(f"{where}: expected an array with rows first, got shape {values.shape}.")

    def read() -> NDArray[Any]:
        check_finite(values, where=where)
        return values

    return Column(name=name, where=where, shape=values.shape, dtype=values.dtype, read=read)

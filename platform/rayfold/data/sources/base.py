"""What a source of rows is: columns, and what each of them is for."""

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
        labels: Name of the column that is to be predicted.
        row_groups: Name of the column that tells which rows belong together; None for none.
        channels: Where rows of 3 or 4 axes have their channels.
    """

    features: tuple[str, ...]
    labels: str
    row_groups: str | None = None
    channels: Channels = "first"

    def __post_init__(self) -> None:
        if not self.features or self.labels in (*self.features, self.row_groups):
            raise DataError(
                "a source needs features, and labels that are neither features nor row groups; "
                f"got features {self.features}, labels {self.labels!r} and row groups "
                f"{self.row_groups!r}."
            )

    @property
    def names(self) -> list[str]:
        """All columns, each once."""
        groups = [] if self.row_groups is None else [self.row_groups]
        return [*dict.fromkeys([*self.features, self.labels, *groups])]


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """The values of one name: a value or an array for each row, read when they are asked for.

    Attributes:
        name: Its name.
        where: How messages name it.
        shape: Shape of all values: rows first, at least one row.
        dtype: Truth values, integers, floats, or ``object`` for text.
        read: Returns the values, as they are stored. Raises DataError if they cannot be read, or
            a float is NaN, infinite or beyond float32.
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


class Source(ABC):
    """Where rows come from. It knows nothing of tasks, test rows or folds.

    A source gives the same rows, in the same order, whenever it is asked. Only the process that
    plans and starts a study reads it; workers get what it has read.
    """

    @abstractmethod
    def roles(self) -> Roles:
        """Return what the columns are for.

        Raises:
            DataError: If that cannot be told.
        """

    @abstractmethod
    def columns(self, names: Sequence[str]) -> Sequence[Column]:
        """Return some columns, of as many rows each, checked but not read.

        Args:
            names: Different names, those of ``roles()`` or others.

        Returns:
            A column for each name, in that order.

        Raises:
            DataError: If there is no column of a name.
        """

    def files(self) -> Mapping[Path, int]:
        """Return the files that the rows lie in one after another, with their numbers of rows.

        Nothing, unless a source overrides this.
        """
        return {}

    def describe(self) -> Mapping[str, Any]:
        """Return what a study records of the source, as plain JSON values.

        A study does not go on when this has changed. Nothing, unless a source overrides this:
        then the rows may come from elsewhere, as long as they are the same.
        """
        return {}

    def under(self, base: Path) -> Self:
        """Return the same with relative paths that start at a folder."""
        return self


def columns_of(arrays: Mapping[str, Any], names: Sequence[str]) -> tuple[Column, ...]:
    """Return columns whose values are in memory.

    Args:
        arrays: All columns that there are: name to an array or a list of values, rows first.
        names: Those that are asked for.

    Raises:
        DataError: If there is no column of a name, or one has no rows or no plain values.
    """
    for name in names:
        if name not in arrays:
            known = [*arrays]
            raise DataError(
                f"there is no column {name!r}{did_you_mean(name, known)}; there are "
                f"{', '.join(map(repr, known))}."
            )
    return tuple(_in_memory(name, np.asarray(arrays[name])) for name in names)


def read_features(columns: Sequence[Column]) -> tuple[NDArray[Any], ...]:
    """Return the values of columns that models get.

    Raises:
        DataError: If one holds text, or cannot be read.
    """
    for column in columns:
        if column.dtype.kind == "O":
            raise DataError(
                f"{column.where}: features are numbers, got text; store numbers, a category as "
                "its number."
            )
    return tuple(column.read() for column in columns)


def _in_memory(name: str, values: NDArray[Any]) -> Column:
    where = f"column {name!r}"
    kind = values.dtype.kind
    values = values.astype(object if kind == "U" else values.dtype.newbyteorder("="), copy=False)
    is_text = kind == "U" or (kind == "O" and all(isinstance(v, str) for v in values.flat))
    if not is_text and (kind not in "biuf" or values.dtype.itemsize > 8):
        raise DataError(
            f"{where}: its type {values.dtype} is not supported; give integers, floats of at most "
            "64 bits, truth values or text."
        )
    if not values.ndim or not values.size:
        raise DataError(f"{where}: expected an array with rows first, got shape {values.shape}.")

    def read() -> NDArray[Any]:
        check_finite(values, where=where)
        return values

    return Column(name=name, where=where, shape=values.shape, dtype=values.dtype, read=read)

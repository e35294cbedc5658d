"""Features and targets whose scale is far from 1, where networks train badly or diverge."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rayfold.data.dataset import DataSet
from rayfold.data.inputs import to_float

FAR = 20.0
"""A scale above this, or below its reciprocal, is far from 1."""

_NUM_ROWS = 10_000
_NUM_VALUES = 2**22


@dataclass(frozen=True)
class FarScale:
    """An array with a scale far from 1, told by its column that is farthest.

    Attributes:
        name: The data set's name, ``"features"`` or ``"labels"`` say.
        column: The column, counted from 0; None where the array has no columns or is looked at as
            a whole.
        mean: Of the column, as the model gets it.
        deviation: Its standard deviation.
        num_others: How many columns of the same array are far from 1 besides.
    """

    name: str
    column: int | None
    mean: float
    deviation: float
    num_others: int = 0

    @property
    def is_constant(self) -> bool:
        """Whether it has one value alone, so that standardising it would divide by 0."""
        return self.deviation == 0

    @property
    def remedy(self) -> str:
        """What to do about it, in the file."""
        return "drop the constant" if self.is_constant else "standardise it"

    def __str__(self) -> str:
        column = "" if self.column is None else f", column {self.column}"
        others = f" and {self.num_others} more" if self.num_others else ""
        return (
            f"{self.name}{column}{others} (mean {self.mean:.3g}, deviation {self.deviation:.3g})"
        )


def far_scales(data: DataSet, rows: NDArray[np.int64] | None = None) -> tuple[FarScale, ...]:
    """Return the feature arrays and targets whose scale is far from 1.

    Each column of a table (an array of two axes) and of the targets of a regression is looked at
    alone, any other array as a whole, images say. It is far from 1 if

    * the root of its mean square is above ``FAR``, or
    * it varies, and all of a feature's values are below ``1 / FAR`` in size; of a target, its
      deviation is.

    Bytes (uint8), which are divided by 255, never are. At most 10,000 rows are looked at, spread
    evenly.

    Args:
        data: The data set.
        rows: Which of its rows; None: those for development.

    Returns:
        At most one for each feature array, in their order, then the targets.
    """
    rows = data.development_rows if rows is None else rows
    found = [
        _farthest(name, to_float(_sample(array, rows)), is_target=False)
        for name, array in zip(data.feature_names, data.features, strict=True)
        if array.dtype != np.uint8
    ]
    if data.task.quantities:
        found.append(_farthest(data.label_name, _sample(data.labels, rows), is_target=True))
    return tuple(scale for scale in found if scale is not None)


def constant_targets(data: DataSet) -> tuple[int, ...]:
    """Return the columns of a regression's targets that hold one value alone, by their number."""
    if not data.task.quantities or not len(data.development_rows):
        return ()
    targets = data.labels[data.development_rows]
    return tuple(np.flatnonzero((targets == targets[:1]).all(axis=0)).tolist())


def _sample(array: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    values_per_row = max(1, array[:1].size)
    number = max(2, min(len(rows), _NUM_ROWS, _NUM_VALUES // values_per_row))
    if number < len(rows):
        rows = rows[np.linspace(0, len(rows) - 1, number).astype(np.int64)]
    return np.asarray(array[rows])


def _farthest(name: str, values: NDArray[Any], *, is_target: bool) -> FarScale | None:
    if not values.size:
        return None
    is_table = values.ndim == 2
    columns = values if is_table else values.reshape(-1, 1)
    mean = columns.mean(axis=0, dtype=np.float64)
    is_constant = (columns == columns[:1]).all(axis=0)  # whose computed deviation may be 1e-9
    deviation = np.where(is_constant, 0.0, columns.std(axis=0, dtype=np.float64))
    size = np.hypot(mean, deviation)
    smallness = deviation if is_target else np.abs(columns).max(axis=0).astype(np.float64)
    varies = deviation > 0
    factor = np.maximum(size, np.where(varies, 1 / np.where(varies, smallness, 1.0), 0.0))
    far = factor > FAR
    if not far.any():
        return None
    worst = int(factor.argmax())
    return FarScale(
        name=name,
        column=worst if is_table and columns.shape[1] > 1 else None,
        mean=float(mean[worst]),
        deviation=float(deviation[worst]),
        num_others=int(far.sum()) - 1,
    )

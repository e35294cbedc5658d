"""What float32 cannot hold: models compute in it, files hold more."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rayfold.data.blocks import blocks
from rayfold.errors import DataError

WHOLE = 2**24
"""Up to here float32 holds every whole number."""

TOLERANCE = 1e-3
"""Mean rounding error of floats that passes without a look, relative to the column's spread."""

_HALF_STEP = 2.0**-25  # largest rounding error of a number, relative to the power of 2 above it
_LEAST_ERROR = 2.0**-150  # half the step of the smallest numbers, below which all are 0
_LARGEST = np.finfo(np.float32).max
_NUM_ROWS = 10_000
_NUM_VALUES = 2**22


def check_finite(values: NDArray[Any], *, where: str) -> None:
    """Refuse floats that are NaN, infinite or too large for float32.

    Args:
        values: Any values, rows first.
        where: How messages name the data set.

    Raises:
        DataError: If there are any; it tells how many, and the first row that has one.
    """
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
            f"{where}: {count} {'value is' if count == 1 else 'values are'} NaN, infinite or "
            f"beyond float32, the first in row {first} (counted from 0); remove these rows or "
            "fill in numbers."
        )


def check_single_precision(values: NDArray[Any], *, where: str) -> None:
    """Refuse an array of which float32 keeps too little.

    Each column, that is each number of a row, is looked at alone:

    * **Integers** must stay distinct: that 16777217 becomes 16777216 is refused. They may be ids.
    * **Floats** may be rounded as long as that is small: a column is refused if distinct values
      become equal *and* the mean rounding error is above ``TOLERANCE`` times the column's spread.
      The spread is the distance between its quartiles, or its standard deviation where that is
      0, of at most 10,000 rows that are spread evenly. Noise in the last digits of a float64
      therefore passes, whatever number of values it merges.

    Args:
        values: Numbers, rows first.
        where: How messages name the data set.

    Raises:
        DataError: If a column loses too much; it tells how many distinct values are left.
    """
    if values.dtype.kind not in "iuf" or values.dtype.itemsize < 4 or not values.size:
        return
    if values.dtype == np.float32:
        return
    rows = values.reshape(len(values), -1)
    largest = np.zeros(rows.shape[1])
    for _, block in blocks(rows):
        ends = np.stack([block.min(axis=0), block.max(axis=0)]).astype(np.float64)
        np.maximum(largest, np.abs(ends).max(axis=0), out=largest)
    is_whole = values.dtype.kind in "iu"
    spread = _spread(rows)
    error = np.maximum(2 * largest * _HALF_STEP, _LEAST_ERROR)
    suspects = np.flatnonzero(largest > WHOLE if is_whole else error > TOLERANCE * spread)
    for column in suspects.tolist():
        exact = rows[:, column]
        single = exact.astype(np.float32)
        wide = exact.astype(np.float64)
        is_small = np.abs(wide - single.astype(np.float64)).mean() <= TOLERANCE * spread[column]
        if is_small and not is_whole:
            continue
        before, after = len(np.unique(exact)), len(np.unique(single))
        if after < before:
            remedy = _remedy(is_whole=is_whole, passes_as_float=is_small)
            which = f" in column {column}" if rows.shape[1] > 1 else ""
            raise DataError(
                f"{where}: models compute in float32, which keeps {after} of {before} distinct "
                f"values{which}; {remedy}."
            )


def _spread(rows: NDArray[Any]) -> NDArray[np.float64]:
    number = max(2, min(len(rows), _NUM_ROWS, _NUM_VALUES // rows.shape[1]))
    chosen = np.linspace(0, len(rows) - 1, number).astype(np.int64)
    sample = np.asarray(rows[chosen], dtype=np.float64)
    low, high = np.quantile(sample, [0.25, 0.75], axis=0)
    between = np.asarray(high - low)
    largest = np.abs(sample).max(axis=0)  # squares of small numbers would be 0
    scale = np.where(largest > 0, largest, 1.0)
    return np.where(between > 0, between, (sample / scale).std(axis=0) * scale)


def _remedy(*, is_whole: bool, passes_as_float: bool) -> str:
    if not is_whole:
        return "subtract an offset and divide by a scale before you store them"
    otherwise = ", or store them as float64 if rounding does no harm" if passes_as_float else ""
    return f"subtract an offset, store ids as numbers from 0 on{otherwise}"

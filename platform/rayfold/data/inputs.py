"""How stored features become a model's input: the same in training and in prediction."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rayfold.errors import DataError

_LARGEST_BYTE = np.float32(255)


def to_float(array: NDArray[Any]) -> NDArray[np.float32]:
    """Turn features into float32, by their type alone.

    Bytes (uint8, as images have) are divided by 255, truth values become 0 and 1, and all other
    numbers keep their value. Nothing depends on the rows that are passed, so that one row alone
    gives what it gives among others.

    Args:
        array: Features, rows first, any shape.

    Returns:
        A C-contiguous array of the same shape; ``array`` itself when nothing has to change.

    Raises:
        DataError: If ``array`` holds no numbers, or numbers beyond float32.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(f"features have type {array.dtype}, expected numbers; convert them first.")
    if array.dtype == np.uint8:
        scaled: NDArray[np.float32] = np.divide(array, _LARGEST_BYTE, dtype=np.float32, order="C")
        return scaled
    try:
        with np.errstate(over="raise"):
            return np.asarray(array, dtype=np.float32, order="C")
    except FloatingPointError:
        raise DataError(
            f"features of type {array.dtype} hold numbers beyond float32 (3.4e38); scale them."
        ) from None

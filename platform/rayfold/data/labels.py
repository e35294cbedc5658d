"""Row groups as numbers, and columns as they are stored."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rayfold.errors import DataError


def encode_row_groups(values: NDArray[Any], *, where: str) -> NDArray[np.int64]:
    """Return a number for each row's group, counted from 0 in sorted order, shape ``(rows,)``.

    Raises:
        DataError: If ``values`` have several columns, or are floats.
    """
    groups = one_column(values)
    if groups.ndim != 1 or groups.dtype.kind == "f":
        raise DataError(
            f"{where}: expected one whole number or name a row for row_groups, got "
            f"{groups.dtype} of shape {groups.shape}; store which group each row belongs to."
        )
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def one_column(values: NDArray[Any]) -> NDArray[Any]:
    """Return ``(rows, 1)`` as ``(rows,)``, and anything else as it is."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values

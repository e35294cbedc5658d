"""Raw labels into what a loss takes: class indices, or float32 values."""

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rayfold.data.precision import check_single_precision
from rayfold.errors import DataError

Task: TypeAlias = Literal["classification", "regression"]

Classes: TypeAlias = tuple[str | int | float, ...]
"""The labels that occur, sorted, as plain Python values: the meaning of class index 0, 1, ..."""


def infer_task(values: NDArray[Any]) -> Task:
    """Return regression for floats, classification for integers, truth values and strings."""
    return "regression" if values.dtype.kind == "f" else "classification"


def encode_classes(values: NDArray[Any], *, where: str) -> tuple[NDArray[np.int64], Classes]:
    """Return the class index of each row, and the classes in sorted order.

    Args:
        values: Integers, truth values, strings or floats that are whole numbers, shape
            ``(rows,)`` or ``(rows, 1)``.
        where: How messages name the data set.

    Returns:
        Indices of shape ``(rows,)``, counted from 0, and what each index stands for.

    Raises:
        DataError: If ``values`` have several columns, fractions, or fewer than two classes.
    """
    labels = one_column(values)
    if labels.ndim != 1:
        raise DataError(
            f"{where}: expected one class a row, got rows of shape {labels.shape[1:]}; store "
            "class numbers or names (of one-hot rows: their argmax), or set task='regression'."
        )
    if labels.dtype.kind == "f":
        fractions = np.flatnonzero(labels != np.floor(labels))
        if len(fractions):
            row = int(fractions[0])
            raise DataError(
                f"{where}: expected whole numbers for task='classification', got "
                f"{labels[row].item()} in row {row}; set task='regression' or store class numbers."
            )
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise DataError(
            f"{where}: every row has the class {classes.tolist()[0]!r}; "
            "classification needs at least two classes."
        )
    return codes.astype(np.int64), tuple(classes.tolist())


def encode_values(values: NDArray[Any], *, where: str) -> NDArray[np.float32]:
    """Return regression labels as float32, shape ``(rows, outputs)``.

    Raises:
        DataError: If ``values`` are text, have more than two axes, or float32 keeps too little of
            them.
    """
    if values.dtype.kind == "O":
        raise DataError(
            f"{where}: expected numbers for task='regression', got text; "
            "store numbers or set task='classification'."
        )
    if values.ndim > 2:
        raise DataError(
            f"{where}: expected shape (rows,) or (rows, outputs), got {values.shape}; "
            "flatten the outputs of each row."
        )
    check_single_precision(values, where=where)
    return np.ascontiguousarray(values.reshape(len(values), -1), dtype=np.float32)


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

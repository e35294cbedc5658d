"""Greedy ensemble selection, and the losses that it lowers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST_PROBABILITY = float(np.finfo(np.float64).eps)


def greedy_selection(
    predictions: NDArray[Any], target: NDArray[Any], *, num_rounds: int
) -> list[int]:
    """Choose ensemble members one at a time, with replacement, to lower the loss.

    Each round adds the member that gives the averaged predictions the lowest mean loss; a member
    chosen twice weighs twice. Ties go to the lower index. An integer target means classes and log
    loss, with probabilities raised to at least 2.2e-16; any other means values and squared error.

    Args:
        predictions: Out-of-fold predictions, shape ``(members, rows, outputs)``: class
            probabilities, or values.
        target: Class index of each row, integers of shape ``(rows,)`` counted from 0, or values,
            floats of shape ``(rows, outputs)``.
        num_rounds: How many members to add, at least 1.

    Returns:
        Indices into the first axis of ``predictions``, in the order chosen.

    Raises:
        ValueError: If ``predictions`` hold no member or something not finite, the shapes of
            ``predictions`` and ``target`` differ, or ``num_rounds`` is below 1.

    References:
        Caruana et al., "Ensemble Selection from Libraries of Models", ICML 2004.
    """
    if num_rounds < 1:
        raise ValueError(f"num_rounds must be at least 1, got {num_rounds}.")
    parts = _parts(predictions, target)
    is_class = target.dtype.kind in "iu"
    total = np.zeros(parts.shape[1])
    chosen: list[int] = []
    for size in range(1, num_rounds + 1):
        losses = _losses((total + parts) / size, is_class=is_class)
        best = int(np.argmin(losses))
        chosen.append(best)
        total += parts[best]
    return chosen


def member_losses(predictions: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    """Return each member's own mean loss, shape ``(members,)``; see ``greedy_selection``."""
    return _losses(_parts(predictions, target), is_class=target.dtype.kind in "iu")


def averaged_loss(
    predictions: NDArray[Any], target: NDArray[Any], weights: NDArray[np.float64]
) -> float:
    """Return the mean loss of the averaged predictions; see ``greedy_selection``.

    Args:
        predictions: Shape ``(members, rows, outputs)``.
        target: Shape ``(rows,)`` or ``(rows, outputs)``.
        weights: Weight of each member, shape ``(members,)``, of sum 1.
    """
    averaged = weights @ _parts(predictions, target)
    return float(_losses(averaged[None], is_class=target.dtype.kind in "iu")[0])


def _parts(predictions: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    """Return what the loss of an average needs of each member, shape ``(members, values)``.

    The average of these parts is the part of the average: the probability of the true class, or
    the difference to the target.
    """
    if predictions.ndim != 3 or len(predictions) == 0:
        raise ValueError(
            "predictions must have shape (members, rows, outputs) with at least one member, "
            f"got {predictions.shape}."
        )
    num_members, num_rows, num_outputs = predictions.shape
    is_class = target.dtype.kind in "iu"
    expected = (num_rows,) if is_class else (num_rows, num_outputs)
    if target.shape != expected or num_rows == 0:
        raise ValueError(
            f"predictions hold {num_rows} rows of {num_outputs} outputs but target has shape "
            f"{target.shape}; pass the out-of-fold rows in the order of the target."
        )
    if not np.isfinite(predictions).all():
        member = int(np.flatnonzero(~np.isfinite(predictions).all(axis=(1, 2)))[0])
        raise ValueError(f"predictions of member {member} are not finite; leave it out.")
    if is_class:
        if target.min() < 0 or target.max() >= num_outputs:
            raise ValueError(
                f"target holds classes {target.min()} to {target.max()}, but predictions have "
                f"{num_outputs} classes, counted from 0."
            )
        return np.asarray(predictions[:, np.arange(num_rows), target], dtype=np.float64)
    residuals: NDArray[np.float64] = np.subtract(predictions, target, dtype=np.float64)
    return residuals.reshape(num_members, -1)


def _losses(parts: NDArray[np.float64], *, is_class: bool) -> NDArray[np.float64]:
    """Return the mean loss along the last axis."""
    if is_class:
        return np.asarray(-np.log(np.maximum(parts, _LEAST_PROBABILITY)).mean(axis=-1))
    return np.asarray(np.square(parts).mean(axis=-1))

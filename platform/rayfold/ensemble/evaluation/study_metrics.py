"""A study's own metrics of predictions, each with a standard error."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from rayfold.data import Task
from rayfold.results import mean_of_known
from rayfold.training.metrics import evaluate

NUM_BLOCKS = 10
"""Blocks of rows, each left out once, for the standard error of a value over all rows."""

Measures: TypeAlias = Mapping[str, tuple[float, float | None]]
"""A metric's name, ``"auroc"``, to its value and the standard error of that."""


def metric_names(scored: Sequence[str]) -> tuple[str, ...]:
    """Return the metrics among what a study scores: ``("val_auroc", "val_loss")`` to ``auroc``.

    The loss is left out: a study's own may be any, an ensemble's is log loss or squared error.
    """
    return tuple(name.removeprefix("val_") for name in scored if name != "val_loss")


def over_folds(
    names: Sequence[str],
    predictions: NDArray[np.float64],
    target: NDArray[np.generic],
    folds: NDArray[np.int64],
) -> Measures:
    """Return the mean of each metric over folds, as a trial's score is.

    Args:
        names: Metrics.
        predictions: Probabilities or values, shape ``(rows, outputs)``.
        target: Class indices, shape ``(rows,)``, or values, shape ``(rows, outputs)``.
        folds: Fold of each row, shape ``(rows,)``.
    """
    of_folds = [
        _values(names, predictions[folds == fold], target[folds == fold])
        for fold in np.unique(folds)
    ]
    means = {name: mean_of_known([values[name] for values in of_folds]) for name in names}
    return {name: mean for name, mean in means.items() if mean is not None}


def over_rows(
    names: Sequence[str], predictions: NDArray[np.float64], target: NDArray[np.generic]
) -> Measures:
    """Return each metric over all rows; its standard error is a jackknife's over blocks of rows.

    Args:
        names: Metrics.
        predictions: Probabilities or values, shape ``(rows, outputs)``.
        target: Class indices, shape ``(rows,)``, or values, shape ``(rows, outputs)``.
    """
    if not names:
        return {}
    whole = _values(names, predictions, target)
    if len(target) < 2 * NUM_BLOCKS:
        return {name: (value, None) for name, value in whole.items()}
    blocks = np.random.default_rng(0).permutation(len(target)) % NUM_BLOCKS
    without = [
        _values(names, predictions[blocks != block], target[blocks != block])
        for block in range(NUM_BLOCKS)
    ]
    found = {}
    for name, value in whole.items():
        left = np.array([values[name] for values in without])
        error = np.sqrt((NUM_BLOCKS - 1) * np.square(left - left.mean()).mean())
        found[name] = (value, float(error))
    return found


def _values(
    names: Sequence[str], predictions: NDArray[np.float64], target: NDArray[np.generic]
) -> dict[str, float]:
    is_class = target.dtype.kind in "iu"
    task: Task = "classification" if is_class else "regression"
    labels = np.asarray(target, dtype=np.int64 if is_class else np.float32)
    return evaluate(
        names,
        task,
        torch.from_numpy(np.asarray(predictions, dtype=np.float32)),
        torch.from_numpy(labels),
    )

"""A study's own metrics of predictions, each with a standard error."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from rayfold.results import mean_of_known
from rayfold.tasks import Metric, Task
from rayfold.training.metrics import evaluate

NUM_BLOCKS = 10
"""Number of blocks of rows, each left out once, for the standard error over all rows."""

Measures: TypeAlias = Mapping[str, tuple[float, float | None]]
"""Each metric's name, such as ``"auroc"``, with its value and standard error."""


def known_metrics(scored: Sequence[str], known: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return the metrics among what a study scores: ``("val_auroc", "val_loss")`` to ``auroc``.

    The loss is left out: a study may have any loss, but an ensemble has the loss of its task.
    What is not in ``known`` is left out, too: for example what a learner reports.

    Args:
        scored: What the study measured, what it searched for first.
        known: Metrics by name.
    """
    names = (name.removeprefix("val_") for name in scored)
    return {name: known[name] for name in names if name in known}


def over_folds(
    task: Task,
    metrics: Mapping[str, Metric],
    predictions: NDArray[np.float64],
    target: NDArray[np.generic],
    folds: NDArray[np.int64],
) -> Measures:
    """Return the mean of each metric over folds, as in a trial's score.

    Args:
        task: What is predicted.
        metrics: The study's metrics by name.
        predictions: Predictions of the task, shape ``(rows, outputs)``.
        target: Labels, as the task encodes them.
        folds: Fold of each row, shape ``(rows,)``.
    """
    of_folds = [
        _values(task, metrics, predictions[folds == fold], target[folds == fold])
        for fold in np.unique(folds)
    ]
    means = {name: mean_of_known([values[name] for values in of_folds]) for name in metrics}
    return {name: mean for name, mean in means.items() if mean is not None}


def over_rows(
    task: Task,
    metrics: Mapping[str, Metric],
    predictions: NDArray[np.float64],
    target: NDArray[np.generic],
) -> Measures:
    """Return each metric over all rows, with a jackknife standard error over blocks of rows.

    Args:
        task: What is predicted.
        metrics: The study's metrics by name.
        predictions: Predictions of the task, shape ``(rows, outputs)``.
        target: Labels, as the task encodes them.
    """
    if not metrics:
        return {}
    whole = _values(task, metrics, predictions, target)
    if len(target) < 2 * NUM_BLOCKS:
        return {name: (value, None) for name, value in whole.items()}
    blocks = np.random.default_rng(0).permutation(len(target)) % NUM_BLOCKS
    without = [
        _values(task, metrics, predictions[blocks != block], target[blocks != block])
        for block in range(NUM_BLOCKS)
    ]
    found = {}
    for name, value in whole.items():
        left = np.array([values.get(name, np.nan) for values in without])
        error = np.sqrt((NUM_BLOCKS - 1) * np.square(left - left.mean()).mean())
        found[name] = (value, float(error) if np.isfinite(error) else None)
    return found


def _values(
    task: Task,
    metrics: Mapping[str, Metric],
    predictions: NDArray[np.float64],
    target: NDArray[np.generic],
) -> dict[str, float]:
    labels = np.asarray(target, dtype=task.label_type)
    return evaluate(
        metrics,
        task,
        torch.from_numpy(np.asarray(predictions, dtype=np.float32)),
        torch.from_numpy(labels),
    )

"""Conformal sets of classes and intervals of values, with a given coverage.

The errors on rows that the models did not see estimate the errors on new rows. The ensemble was
chosen on the same rows, so the coverage is approximate. Every report gives the share of held-out
rows that are covered.

References:
    Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence (2015).
    Sadinle, Lei and Wasserman, "Least Ambiguous Set-Valued Classifiers With Bounded Error
    Levels", JASA (2019).
"""

import math

import numpy as np
from numpy.typing import NDArray

from rayfold.options.arguments import checked
from rayfold.options.fields import Fraction
from rayfold.tasks import Task


def nonconformity(
    task: Task, predictions: NDArray[np.float64], target: NDArray[np.generic]
) -> NDArray[np.float64]:
    """Return the error of each prediction.

    Args:
        task: Says whether there are sets or intervals.
        predictions: Class probabilities or values, shape ``(rows, outputs)``.
        target: Class indices, shape ``(rows,)``, or values, shape ``(rows, outputs)``.

    Returns:
        For sets: one minus the probability of the true class, shape ``(rows, 1)``. For intervals:
        absolute differences, shape ``(rows, outputs)``.
    """
    if task.region == "set":
        of_true = np.take_along_axis(predictions, np.asarray(target, np.int64)[:, None], axis=1)
        return np.asarray(1 - of_true)
    return np.asarray(np.abs(predictions - np.asarray(target, np.float64)))


def num_scores(task: Task, num_outputs: int) -> int:
    """Return how many scores of ``nonconformity`` a row has."""
    return 1 if task.region == "set" else num_outputs


def coverage_of(
    task: Task,
    predictions: NDArray[np.float64],
    target: NDArray[np.generic],
    scores: NDArray[np.float64],
    coverage: float,
) -> tuple[float, float]:
    """Return the share of sets or intervals that hold the truth, and their mean size.

    Args:
        task: Says whether these are sets or intervals.
        predictions: Shape ``(rows, outputs)``.
        target: Class indices, shape ``(rows,)``, or values, shape ``(rows, outputs)``.
        scores: Results of ``nonconformity`` on other rows.
        coverage: The wanted share, in (0, 1).
    """
    if task.region == "set":
        sets = class_sets(predictions, scores, coverage)
        covered = np.take_along_axis(sets, np.asarray(target, np.int64)[:, None], axis=1)
        return float(covered.mean()), float(sets.sum(axis=1).mean())
    ends = intervals(predictions, scores, coverage)
    true = np.asarray(target, np.float64)
    covered = (ends[..., 0] <= true) & (true <= ends[..., 1])
    return float(covered.mean()), float((ends[..., 1] - ends[..., 0]).mean())


@checked
def thresholds(scores: NDArray[np.float64], coverage: Fraction) -> NDArray[np.float64]:
    """Return the smallest score with this coverage, corrected for few rows.

    Args:
        scores: Results of ``nonconformity``, shape ``(rows, m)``.
        coverage: Share of the rows to cover, in (0, 1).

    Returns:
        Shape ``(m,)``; infinity if there are too few rows for this coverage.

    Raises:
        RecipeError: If ``coverage`` is out of range.
    """
    num_rows = len(scores)
    rank = math.ceil((num_rows + 1) * coverage)
    if rank > num_rows:
        return np.full(scores.shape[1], np.inf)
    return np.asarray(np.sort(scores, axis=0)[rank - 1])


def class_sets(
    probabilities: NDArray[np.float64], scores: NDArray[np.float64], coverage: float
) -> NDArray[np.bool_]:
    """Return which classes belong to each row's set, shape ``(rows, classes)``; at least one.

    Args:
        probabilities: Shape ``(rows, classes)``.
        scores: Of other rows, of ``nonconformity``.
        coverage: Share of the sets that hold the true class, in (0, 1).

    Raises:
        EnsembleError: If ``coverage`` is out of range.
    """
    sets = 1 - probabilities <= thresholds(scores, coverage)
    sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
    return sets


def intervals(
    values: NDArray[np.float64], scores: NDArray[np.float64], coverage: float
) -> NDArray[np.float64]:
    """Return the lower and upper end of each value's interval, shape ``(rows, outputs, 2)``.

    Args:
        values: Shape ``(rows, outputs)``.
        scores: Of other rows, of ``nonconformity``.
        coverage: Share of each output's intervals that hold the true value, in (0, 1).

    Raises:
        EnsembleError: If ``coverage`` is out of range.
    """
    width = thresholds(scores, coverage)
    return np.stack([values - width, values + width], axis=-1)

"""Scores of predictions on some rows: loss, error and calibration, with intervals."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torchmetrics.functional.classification import multiclass_calibration_error

from rayfold.ensemble.evaluation.study_metrics import Measures
from rayfold.tasks import Task

CONFIDENCE = 0.95
RESAMPLES = 2000
NUM_BINS = 15


@dataclass(frozen=True, order=True)
class Interval:
    """A mean over rows with its bootstrap interval of 95 %.

    Attributes:
        value: The mean.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of predictions on some rows.

    Attributes:
        num_rows: Number of rows.
        loss: The task's loss.
        error: Share of rows whose most probable class is wrong; None for values.
        calibration_error: Expected calibration error in 15 bins of equal width; None for
            values.
        metrics: The study's own metrics, the one that it optimised first.
    """

    num_rows: int
    loss: Interval
    error: Interval | None = None
    calibration_error: float | None = None
    metrics: Measures = field(default_factory=dict)


def scores_of(
    task: Task,
    predictions: NDArray[np.float64],
    target: NDArray[np.generic],
    *,
    metrics: Measures | None = None,
) -> Scores:
    """Score predictions; with several models, score each and take the mean.

    Args:
        task: Defines the loss of a row.
        predictions: Predictions of the task, shape ``(models, rows, outputs)``.
        target: Labels, as the task encodes them.
        metrics: The study's own metrics of them.
    """
    losses = task.row_losses(predictions, target).mean(axis=0)
    scores = Scores(num_rows=len(losses), loss=interval(losses), metrics=metrics or {})
    if not task.probabilities:
        return scores
    wrong = (predictions.argmax(axis=2) != target).mean(axis=0)
    true = torch.from_numpy(np.asarray(target, dtype=np.int64))
    calibration_errors = [
        multiclass_calibration_error(
            torch.from_numpy(probabilities.clip(0, 1)),  # above 1 they are taken for logits
            true,
            num_classes=predictions.shape[2],
            n_bins=NUM_BINS,
        )
        for probabilities in predictions
    ]
    return replace(
        scores, error=interval(wrong), calibration_error=float(np.mean(calibration_errors))
    )


def interval(values: NDArray[np.float64]) -> Interval:
    """Return the mean of one value per row with its bootstrap interval, shape ``(rows,)``."""
    mean = float(values.mean())
    if len(values) < 2 or float(np.ptp(values)) == 0:
        return Interval(mean, mean, mean)
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=100,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high))

"""Nested validation: the loss of a builder's ensembles on rows that they were not chosen on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayfold.ensemble.builders import Builder
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.tasks import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """A builder's nested out-of-fold predictions.

    Attributes:
        builder: The builder.
        predictions: Prediction of each row by the ensemble that was chosen on the rows of all
            other folds, shape ``(rows, outputs)``.
        losses: The task's loss of each row, shape ``(rows,)``.
    """

    builder: Builder
    predictions: NDArray[np.float64]
    losses: NDArray[np.float64]

    @property
    def loss(self) -> float:
        """Mean loss over the rows."""
        return float(self.losses.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of ``loss`` over the rows; 0 for a single row."""
        if len(self.losses) < 2:
            return 0.0
        return float(self.losses.std(ddof=1) / np.sqrt(len(self.losses)))


def evaluate(builder: Builder, out_of_fold: OutOfFold) -> Evaluation:
    """Evaluate a builder by nested cross-validation.

    For each fold, an ensemble is chosen on the predictions of all other rows, and predicts the
    rows of the fold by models that did not see them.

    Args:
        builder: The builder.
        out_of_fold: The candidates' predictions, of at least two folds.
    """
    predictions = np.empty(out_of_fold.predictions.shape[1:])
    for fold in np.unique(out_of_fold.folds):
        inside = out_of_fold.folds == fold
        chosen = builder.build(out_of_fold.of_rows(~inside))
        predictions[inside] = chosen.predict(out_of_fold.of_rows(inside))
    return Evaluation(
        builder=builder,
        predictions=predictions,
        losses=out_of_fold.task.row_losses(predictions, out_of_fold.target),
    )


def compare(builders: Sequence[Builder], out_of_fold: OutOfFold) -> tuple[Evaluation, ...]:
    """Evaluate builders, and return them with the lowest nested loss first."""
    evaluations = [evaluate(builder, out_of_fold) for builder in builders]
    return tuple(sorted(evaluations, key=lambda evaluation: evaluation.loss))


def reason(evaluations: Sequence[Evaluation], task: Task) -> str:
    """Say why the first of several builders is chosen, in one line."""
    best, *others = evaluations
    said = (
        f"{best.builder} has a nested out-of-fold {task.loss_name} of {best.loss:.4g} "
        f"± {best.standard_error:.2g}"
    )
    if not others:
        return f"{said}; no other builder was tried."
    second = others[0]
    gap = second.losses - best.losses
    error = float(gap.std(ddof=1) / np.sqrt(len(gap))) if len(gap) > 1 else 0.0
    return (
        f"{said}, the lowest of {len(evaluations)} builders; the next one, {second.builder}, has "
        f"{float(gap.mean()):.2g} ± {error:.2g} more."
    )

"""Predictions of rows by models that did not see them, by which ensembles are chosen."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rayfold.tasks import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class OutOfFold:
    """Predictions of some rows by several candidates.

    Attributes:
        task: The task, whose loss ensembles minimise.
        predictions: Predictions of the task, float32, shape ``(candidates, rows, outputs)``; 0
            if there is none.
        present: Which rows a candidate has predicted, shape ``(candidates, rows)``.
        complete: Which candidates have predicted all rows of the data set, these and others, shape
            ``(candidates,)``; at least one has.
        target: Labels of the rows, as the task encodes them.
        folds: Fold in which each row was validated, int64, shape ``(rows,)``.
    """

    task: Task
    predictions: NDArray[np.float32]
    present: NDArray[np.bool_]
    complete: NDArray[np.bool_]
    target: NDArray[np.generic]
    folds: NDArray[np.int64]

    def __post_init__(self) -> None:
        num_candidates, num_rows, num_outputs = self.predictions.shape
        assert num_candidates
        assert num_rows
        assert self.present.shape == (num_candidates, num_rows)
        assert self.target.shape == self.task.target_shape(num_rows, num_outputs)
        assert self.folds.shape == (num_rows,)
        assert self.complete.shape == (num_candidates,)
        assert self.complete.any()
        assert self.present[self.complete].all()

    def of_candidates(self, indices: NDArray[np.int64] | list[int]) -> Self:
        """Return the predictions of some candidates, in the given order."""
        return type(self)(
            task=self.task,
            predictions=self.predictions[indices],
            present=self.present[indices],
            complete=self.complete[indices],
            target=self.target,
            folds=self.folds,
        )

    def of_rows(self, rows: NDArray[np.bool_]) -> Self:
        """Return the predictions of some rows."""
        return type(self)(
            task=self.task,
            predictions=self.predictions[:, rows],
            present=self.present[:, rows],
            complete=self.complete,
            target=self.target[rows],
            folds=self.folds[rows],
        )

    def parts(self) -> NDArray[np.float32]:
        """Return the quantities for the loss of an average, shape ``(candidates, rows, parts)``.

        The average of these parts is the part of the average, see ``Task.parts``. They are 0
        without a prediction.
        """
        parts = self.task.parts(self.predictions, self.target)
        return np.where(self.present[:, :, None], parts, np.float32(0))

    def best(self, num_candidates: int) -> NDArray[np.int64]:
        """Return the candidates with the lowest losses, best first; at least one is complete.

        Args:
            num_candidates: Their number, if there are as many.
        """
        losses = self.losses()
        order = np.argsort(losses, kind="stable")[:num_candidates]
        if not self.complete[order].any():
            order[-1] = np.where(self.complete, losses, np.inf).argmin()
        return order

    def losses(self) -> NDArray[np.float64]:
        """Return each candidate's own loss, shape ``(candidates,)``, as if it had all rows.

        Rows differ in difficulty. So an incomplete candidate is compared with the best complete
        one on its own rows, and the difference is added to that candidate's loss.
        """
        rows = np.stack([self.task.row_losses(each, self.target) for each in self.predictions])
        of_complete = np.where(self.complete, rows.mean(axis=1), np.inf)
        best = int(of_complete.argmin())
        counts = np.maximum(self.present.sum(axis=1), 1)
        behind = (self.present * (rows - rows[best])).sum(axis=1) / counts
        losses: NDArray[np.float64] = np.where(
            self.complete, of_complete, of_complete[best] + behind
        )
        return losses

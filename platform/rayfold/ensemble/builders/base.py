"""The base class of builders, which choose candidates and say how they are combined."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from rayfold.ensemble.combination import Combination, WeightedMean
from rayfold.ensemble.evaluation.temperature import fit_temperature
from rayfold.ensemble.out_of_fold import OutOfFold

LEAST_WEIGHT = 1e-3
"""Candidates with a smaller weight are left out."""


@dataclass(frozen=True)
class Selection:
    """The candidates that a builder has chosen.

    Attributes:
        candidates: Their indices, largest weight first.
        combination: Combines their predictions, in this order.
    """

    candidates: tuple[int, ...]
    combination: Combination

    @classmethod
    def of_weights(cls, weights: NDArray[np.float64]) -> Self:
        """Return a weighted mean, without candidates of almost no weight.

        Args:
            weights: Weight of each candidate, at least 0, shape ``(candidates,)``.
        """
        weights = weights / weights.sum()
        weights = np.where(weights < LEAST_WEIGHT * weights.max(), 0.0, weights)
        order = np.argsort(-weights, kind="stable")[: np.count_nonzero(weights)]
        shares = torch.from_numpy(weights[order] / weights.sum())
        return cls(tuple(int(index) for index in order), WeightedMean(shares))

    @classmethod
    def of_mean(
        cls, weights: NDArray[np.float64], out_of_fold: OutOfFold, *, calibrate: bool
    ) -> Self:
        """Return a weighted mean that predicts every row, calibrated on out-of-fold rows.

        Args:
            weights: Weight of each candidate, at least 0, shape ``(candidates,)``; at least one
                complete candidate has a weight above 0. The complete candidate with the largest
                weight is always kept.
            out_of_fold: The predictions that the weights were chosen on.
            calibrate: Whether mean probabilities are calibrated by a temperature on these rows;
                means of values are unaffected.
        """
        heaviest = int(np.where(out_of_fold.complete, weights, -1.0).argmax())
        weights = weights.copy()
        weights[heaviest] = max(weights[heaviest], 2 * LEAST_WEIGHT * weights.max())
        selection = cls.of_weights(weights)
        if not calibrate or not out_of_fold.task.temperature:
            return selection
        temperature = fit_temperature(
            selection.predict(out_of_fold), out_of_fold.target, task=out_of_fold.task
        )
        shares = torch.tensor(selection.combination.shares, dtype=torch.float64)
        return replace(selection, combination=WeightedMean(shares, temperature))

    def predict(self, out_of_fold: OutOfFold) -> NDArray[np.float64]:
        """Return the combined predictions, shape ``(rows, outputs)``."""
        chosen = list(self.candidates)
        with torch.no_grad():
            combined: torch.Tensor = self.combination(
                torch.from_numpy(out_of_fold.predictions[chosen]).double(),
                torch.from_numpy(out_of_fold.present[chosen]),
            )
        predictions: NDArray[np.float64] = combined.numpy()
        return predictions


class Builder(ABC):
    """Chooses candidates by their out-of-fold predictions, and combines them.

    Its promises, which ``rayfold.testing.BuilderContract`` tests:

    * The same predictions give the same ensemble, whatever the order of the candidates; only ties
      may differ.
    * Values in rows that a candidate has not predicted make no difference.
    * At least one chosen candidate has predictions of all rows.

    ``Selection.of_mean`` makes a calibrated weighted mean that keeps these promises.
    """

    @abstractmethod
    def build(self, out_of_fold: OutOfFold) -> Selection:
        """Choose from the candidates.

        Args:
            out_of_fold: Their predictions.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the name and arguments of the builder, such as ``{"greedy": {...}}``."""

    def __repr__(self) -> str:
        ((name, arguments),) = self.settings().items()
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        return f"{name}({given})"

"""What a builder of ensembles is: it chooses candidates and says how they are combined."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from rayfold.ensemble.combination import Combination, WeightedMean
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.ensemble.temperature import fit_temperature
from rayfold.errors import EnsembleError
from rayfold.results import MAX_COUNT
from rayfold.space.values import show

LEAST_WEIGHT = 1e-3
"""Candidates of a smaller weight are left out."""


@dataclass(frozen=True)
class Selection:
    """The candidates that a builder has chosen.

    Attributes:
        candidates: Their indices, the one that counts most first.
        combination: What their predictions are combined by, in this order.
    """

    candidates: tuple[int, ...]
    combination: Combination

    @classmethod
    def of_weights(cls, weights: NDArray[np.float64]) -> Self:
        """Return a weighted mean, without the candidates of next to no weight.

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
        """Return the weighted mean that suits some rows.

        Args:
            weights: Weight of each candidate, at least 0, shape ``(candidates,)``. Of the complete
                ones, of which one has a weight, the heaviest stays however light it is.
            out_of_fold: What the weights were chosen on.
            calibrate: Whether mean probabilities are tempered to have the lowest loss there; of
                values nothing is to be done.
        """
        heaviest = int(np.where(out_of_fold.complete, weights, -1.0).argmax())
        weights = weights.copy()
        weights[heaviest] = max(weights[heaviest], 2 * LEAST_WEIGHT * weights.max())
        selection = cls.of_weights(weights)
        if not calibrate or not out_of_fold.is_class:
            return selection
        temperature = fit_temperature(selection.predict(out_of_fold), out_of_fold.target)
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

    The same predictions give the same ensemble, in whatever order candidates come, but for ties;
    what stands where a candidate has no prediction makes no difference. Every row that is to be
    predicted must get a prediction: at least one chosen candidate has predictions of all rows.
    ``Selection.of_mean`` makes a weighted mean that keeps to this, and calibrates it.
    ``rayfold.testing.BuilderContract`` tests these promises.
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


def flag(name: str, value: object) -> bool:
    """Return an argument that is true or false, checked.

    Raises:
        EnsembleError: If it is something else.
    """
    if not isinstance(value, bool):
        raise EnsembleError(f"{name} must be True or False, got {value!r}.")
    return value


def count(name: str, value: object, *, at_least: int, at_most: int = MAX_COUNT) -> int:
    """Return an argument that is a whole number, checked.

    Raises:
        EnsembleError: If it is none, too small or too large.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise EnsembleError(f"{name} must be an integer, at least {at_least}, got {show(value)}.")
    if value > at_most:
        raise EnsembleError(f"{name} must be at most {at_most}, got {show(value)}.")
    return value

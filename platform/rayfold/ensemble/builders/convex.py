"""Convex weights that minimise the loss."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax

from rayfold.ensemble.builders.base import Builder, Selection
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.options.arguments import checked
from rayfold.options.fields import Count, Flag, Strength


class Convex(Builder):
    """Gives the best candidates the weights with the lowest loss; weights sum to 1.

    Log loss and squared error are convex in the weights, or nearly so if candidates lack rows.

    Args:
        num_candidates: Number of best candidates that get weights, at least 1.
        penalty: The loss grows by ``penalty * divergence / rows``, where ``divergence`` is the
            Kullback-Leibler divergence from equal weights, in nats; at least 0.
        calibrate: Whether mean probabilities are calibrated by a temperature; means of values
            are unaffected.

    Raises:
        RecipeError: If an argument is out of range.
    """

    @checked
    def __init__(
        self, num_candidates: Count = 50, *, penalty: Strength = 1.0, calibrate: Flag = True
    ) -> None:
        self._num_candidates, self._penalty, self._calibrate = num_candidates, penalty, calibrate

    def settings(self) -> dict[str, Any]:
        """Return ``{"convex": {"num_candidates": 50, "penalty": 1.0, "calibrate": True}}``."""
        return {
            "convex": {
                "num_candidates": self._num_candidates,
                "penalty": self._penalty,
                "calibrate": self._calibrate,
            }
        }

    def build(self, out_of_fold: OutOfFold) -> Selection:
        """Choose from the candidates."""
        order = out_of_fold.best(self._num_candidates)
        some = out_of_fold.of_candidates(order)
        parts = some.parts().astype(np.float64)
        present = some.present.astype(np.float64)
        strength = self._penalty / len(some.target)

        def objective(logits: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            weights = softmax(logits)
            loss, slope = _loss(weights, parts, present, some)
            uniform = 1 / len(weights)
            loss -= strength * uniform * float(np.log(np.maximum(weights, 1e-300)).sum())
            slope_logits = weights * (slope - weights @ slope)
            slope_logits += strength * (weights - uniform)
            return loss, slope_logits

        found = minimize(
            objective, np.zeros(len(order)), jac=True, method="L-BFGS-B", options={"maxiter": 200}
        )
        weights = np.zeros(len(out_of_fold.predictions))
        weights[order] = softmax(found.x)
        return Selection.of_mean(weights, out_of_fold, calibrate=self._calibrate)


def _loss(
    weights: NDArray[np.float64],
    parts: NDArray[np.float64],
    present: NDArray[np.float64],
    some: OutOfFold,
) -> tuple[float, NDArray[np.float64]]:
    """Return the mean loss of the weighted mean, and its gradient in the weights."""
    sums = np.maximum(weights @ present, 1e-300)
    average = np.tensordot(weights, parts, axes=1) / sums[:, None]
    loss = some.task.mean_loss(average.copy(), some.target)
    outer = some.task.mean_loss_slope(average, some.target) / sums[:, None]
    slope = np.tensordot(parts, outer, axes=([1, 2], [0, 1])) - present @ (outer * average).sum(1)
    return loss, slope

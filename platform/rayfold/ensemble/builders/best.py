"""A plain or a weighted mean of the best candidates."""

from typing import Any, Literal

import numpy as np

from rayfold.ensemble.builders.base import Builder, Selection
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.options.arguments import checked
from rayfold.options.fields import Count, Flag

Weighting = Literal["uniform", "score"]


class Best(Builder):
    """Averages the candidates with the lowest losses.

    Args:
        num_members: Number of candidates, at least 1.
        weighting: ``"uniform"``: equal weights. ``"score"``: the weight is ``1 / (1 + d / m)``,
            where ``d`` is the loss minus the lowest loss, and ``m`` the median of these
            differences.
        calibrate: Whether mean probabilities are calibrated by a temperature; means of values
            are unaffected.

    Raises:
        RecipeError: If an argument is out of range.
    """

    @checked
    def __init__(
        self, num_members: Count = 10, *, weighting: Weighting = "uniform", calibrate: Flag = True
    ) -> None:
        self._num_members, self._weighting, self._calibrate = num_members, weighting, calibrate

    def settings(self) -> dict[str, Any]:
        """Return ``{"best": {"num_members": 10, "weighting": "uniform", "calibrate": True}}``."""
        return {
            "best": {
                "num_members": self._num_members,
                "weighting": self._weighting,
                "calibrate": self._calibrate,
            }
        }

    def build(self, out_of_fold: OutOfFold) -> Selection:
        """Choose from the candidates."""
        losses = out_of_fold.losses()
        order = out_of_fold.best(self._num_members)
        weights = np.zeros(len(losses))
        weights[order] = 1.0
        if self._weighting == "score":
            distance = losses[order] - losses[order].min()
            unit = np.median(distance[1:]) if len(order) > 1 else 0.0
            if unit > 0:
                weights[order] = 1 / (1 + distance / unit)
        return Selection.of_mean(weights, out_of_fold, calibrate=self._calibrate)

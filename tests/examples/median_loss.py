"""A builder that averages all candidates that are better than the median."""

from typing import Any

import numpy as np

from rayfold.ensemble import Builder, OutOfFold, Selection


class MedianLoss(Builder):
    """The plain mean of the better half."""

    def settings(self) -> dict[str, Any]:
        """Return the name; there are no arguments."""
        return {"median_loss": {}}

    def build(self, out_of_fold: OutOfFold) -> Selection:
        """Choose from the candidates."""
        losses = out_of_fold.losses()
        weights = (losses <= np.median(losses)).astype(np.float64)
        return Selection.of_mean(weights, out_of_fold, calibrate=True)

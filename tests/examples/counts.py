"""A task of one's own: counts, which models learn by the loss of Poisson."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rayfold.errors import DataError
from rayfold.tasks import Classes, Labels, Predictions, Regression

if TYPE_CHECKING:
    from torch import Tensor, nn


class Counts(Regression):
    """Models return the logarithms of rates; ensembles average the rates."""

    name = "counts"
    loss_name = "Poisson loss"
    default_loss = "poisson"

    def encode(self, values: Labels, *, where: str) -> tuple[Labels, Classes | None]:
        """Return counts of shape ``(rows, outputs)``."""
        counts, classes = super().encode(values, where=where)
        if (counts < 0).any():
            raise DataError(f"{where}: counts are 0 or more, got {counts.min()}.")
        return counts, classes

    def losses(self) -> Mapping[str, "type[nn.Module]"]:
        """Return Poisson's, which takes logarithms of rates."""
        from torch import nn

        return {"poisson": nn.PoissonNLLLoss}

    def activate(self, outputs: "Tensor") -> "Tensor":
        """Return the rates."""
        return outputs.exp()

    def row_losses(self, predictions: NDArray[np.floating], labels: Labels) -> Predictions:
        """Return ``rate - count * log(rate)``, averaged over outputs."""
        rates = np.maximum(predictions, 1e-6, dtype=np.float64)
        losses: Predictions = (rates - labels * np.log(rates)).mean(axis=-1)
        return losses

    def parts(self, predictions: NDArray[np.float32], labels: Labels) -> NDArray[np.float32]:
        """Return the rates."""
        return predictions

    def mean_loss(self, parts: NDArray[np.floating], labels: Labels) -> float:
        """Return the mean loss of averaged rates."""
        return float(self.row_losses(parts, labels).mean())

    def mean_loss_slope(self, parts: Predictions, labels: Labels) -> Predictions:
        """Return ``1 - count / rate``, divided by the numbers."""
        slope: Predictions = (1 - labels / np.maximum(parts, 1e-6)) / parts.size
        return slope

"""A loss that counts rows the less, the surer the model is of their class."""

import torch
from torch import Tensor, nn


class Focal(nn.Module):
    """Cross entropy times ``(1 - p) ** gamma``, with the probability ``p`` of the true class.

    Args:
        gamma: How much less sure rows count; 0 is cross entropy.
        reduction: Always ``"none"``: one value per row.
    """

    def __init__(self, *, gamma: float = 2.0, reduction: str = "none") -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each row, shape ``(rows,)``."""
        losses = nn.functional.cross_entropy(outputs, labels, reduction="none")
        return (1 - torch.exp(-losses)) ** self.gamma * losses

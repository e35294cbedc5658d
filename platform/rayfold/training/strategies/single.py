"""One worker: nothing to split, nothing to agree on."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rayfold.training.strategies.base import Strategy


class SingleProcess(Strategy):
    """A group of one worker."""

    rank = 0
    world_size = 1
    gradient_scale = 1.0

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def wrap(self, model: nn.Module, features: Sequence[Tensor]) -> nn.Module:
        """Return ``model`` itself."""
        return model

    def sum(self, values: Tensor) -> Tensor:
        """Return ``values`` themselves."""
        return values

    def gather_rows(self, rows: Tensor, total: int) -> Tensor:
        """Return ``rows`` themselves."""
        return rows

    def share_buffers(self, model: nn.Module) -> None:
        """Do nothing: there are no others."""

    def broadcast(self, value: Any) -> Any:
        """Return ``value`` itself."""
        return value

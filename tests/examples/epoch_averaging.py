"""A strategy: workers train alone for an epoch, then all take the mean of their weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rayfold.training.strategies import AllReduce


class EpochAveraging(AllReduce):
    """Deals batches as ``AllReduce`` does, but nothing is sent within an epoch.

    The optimisers' moments are averaged, too. So all workers agree after each epoch, and one
    checkpoint is enough to go on.
    """

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module itself: its gradients stay with the worker."""
        return module

    def end_epoch(self, model: nn.Module, optimizers: Mapping[str, Optimizer]) -> None:
        """Average all tensors."""
        states = [state for each in optimizers.values() for state in each.state.values()]
        moments = [value for state in states for value in state.values()]
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers(), *moments):
                if isinstance(tensor, Tensor):
                    tensor.copy_(self.collective.sum(tensor) / self.collective.world_size)

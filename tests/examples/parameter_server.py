"""A strategy with a rank that does not train: it keeps the optimisers and takes all steps."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rayfold.training import Collective
from rayfold.training.strategies import Share, Strategy


class ParameterServer(Strategy):
    """Rank 0 gets the sum of the others' gradients, takes a step, and sends the weights."""

    def __init__(self, collective: Collective) -> None:
        super().__init__(collective)
        self._num_trainers = max(1, collective.world_size - 1)
        self._trainer = collective.rank - (collective.world_size > 1)  # counted from 0

    def training_share(self, num_rows: int) -> Share | None:
        """Deal the rows to the trainers."""
        if self._trainer < 0:
            return None
        bounds = (self._trainer + i for i in (0, 1))
        start, stop = (bound * num_rows // self._num_trainers for bound in bounds)
        return Share(slice(start, stop)) if start < stop else Share(slice(0, 2), weight=0.0)

    def validation_share(self, num_rows: int) -> Share:
        """Let rank 0 predict all rows: it would wait for the others anyway."""
        return Share(slice(0, num_rows), weight=float(self.collective.rank == 0))

    def backward(self, losses: Tensor, *, weight: float, num_rows: int) -> None:
        """Compute this worker's part of the gradient of the mean."""
        (losses.sum() * weight / num_rows).backward()

    def step(self, optimizer: Optimizer) -> None:
        """Send the gradients and get the weights."""
        self._exchange(optimizer)

    def assist(self, optimizers: Mapping[str, Optimizer]) -> None:
        """Take a step with each optimiser, in the order in which the learner does."""
        for optimizer in optimizers.values():
            self._exchange(optimizer)

    @torch.no_grad()
    def _exchange(self, optimizer: Optimizer) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for parameter in parameters:
            own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = self.collective.sum(own)
        if self.collective.rank == 0:
            optimizer.step()
            optimizer.zero_grad()
        for parameter in parameters:
            parameter.copy_(self._from(0, parameter))

    def end_epoch(self, model: nn.Module, optimizers: Mapping[str, Optimizer]) -> None:
        """Give every worker the first trainer's buffers."""
        for buffer in model.buffers():
            buffer.copy_(self._from(min(1, self.collective.world_size - 1), buffer))

    def _from(self, rank: int, tensor: Tensor) -> Tensor:
        """Return one rank's tensor on every rank."""
        own = tensor if self.collective.rank == rank else torch.zeros_like(tensor)
        return self.collective.sum(own)

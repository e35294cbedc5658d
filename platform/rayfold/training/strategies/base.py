"""What the training loop asks of a group of workers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

Result = TypeVar("Result")


class Strategy(ABC):
    """How the workers of a group split a batch, and how they agree.

    The batch that a configuration names is the batch that the optimiser sees, however many
    workers there are: each takes its ``part`` of the rows, and gradients are weighted by rows.

    Attributes:
        rank: This worker's number, counted from 0.
        world_size: How many workers the group has.
        device: Where this worker computes.
    """

    rank: int
    world_size: int
    device: torch.device

    @abstractmethod
    def wrap(self, model: nn.Module, features: Sequence[Tensor]) -> nn.Module:
        """Return ``model`` so that backward passes synchronise gradients between the workers.

        Args:
            model: In training mode.
            features: This worker's part of the first batch, to try the model on; both are as they
                were afterwards.
        """

    @property
    @abstractmethod
    def gradient_scale(self) -> float:
        """Factor for a loss that is summed over this worker's rows and divided by all rows."""

    @abstractmethod
    def sum(self, values: Tensor) -> Tensor:
        """Return ``values`` summed over the workers, the same on each."""

    @abstractmethod
    def gather_rows(self, rows: Tensor, total: int) -> Tensor | None:
        """Join every worker's ``part`` of ``total`` rows in order, on rank 0; None elsewhere."""

    @abstractmethod
    def share_buffers(self, model: nn.Module) -> None:
        """Give every worker rank 0's buffers: running statistics differ, weights do not."""

    @abstractmethod
    def broadcast(self, value: Any) -> Any:
        """Return rank 0's ``value`` on every worker."""

    def training_part(self, num_rows: int) -> slice:
        """Return this worker's rows out of a training batch: at least 2, or none.

        Batch normalisation cannot train on a single row. So each worker gets at least two rows
        of a batch or none; a batch of one row goes to the first worker.
        """
        busy = max(1, min(self.world_size, num_rows // 2))
        if self.rank >= busy:
            return slice(0, 0)
        return slice(self.rank * num_rows // busy, (self.rank + 1) * num_rows // busy)

    def on_rank_0(self, write: Callable[[], Result]) -> Result:
        """Call ``write`` on rank 0 and return what it returns, on every worker.

        An error of the operating system, a full disk say, is raised on every worker, too, so that
        they stay together.
        """
        value: Result | None = None
        error: OSError | None = None
        if self.rank == 0:
            try:
                value = write()
            except OSError as failure:
                error = failure
        value, error = self.broadcast((value, error))
        if error is not None:
            raise error
        return cast(Result, value)

    def part(self, num_rows: int) -> slice:
        """Return this worker's contiguous rows out of ``num_rows``; sizes differ by at most 1."""
        return slice(
            self.rank * num_rows // self.world_size, (self.rank + 1) * num_rows // self.world_size
        )

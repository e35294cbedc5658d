"""Synchronous data parallelism over ``torch.distributed``."""

from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rayfold.training.strategies.base import Strategy


class DataParallel(Strategy):
    """Every worker holds the model; gradients are all-reduced during the backward pass.

    ``DistributedDataParallel`` averages gradients over the workers, whatever their number of
    rows. A worker's loss is therefore the sum over its rows, divided by the rows of the whole
    batch and multiplied by the number of workers: the average is then the gradient of the mean
    loss over the whole batch, with equal or unequal parts.

    Args:
        device: Where this worker computes.

    Raises:
        RuntimeError: If ``torch.distributed`` has no process group yet.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.rank = torch.distributed.get_rank()
        self.world_size = torch.distributed.get_world_size()

    @property
    def gradient_scale(self) -> float:
        """The number of workers, which undoes the division by it."""
        return float(self.world_size)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return ``model`` in ``DistributedDataParallel``; a model without parameters as it is."""
        if not any(parameter.requires_grad for parameter in model.parameters()):
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices)

    def sum(self, values: Tensor) -> Tensor:
        """Return ``values`` summed over the workers, the same on each."""
        total = values.to(self.device, copy=True)
        torch.distributed.all_reduce(total)
        return total

    def gather_rows(self, rows: Tensor, total: int) -> Tensor | None:
        """Join the workers' parts on rank 0; parts are padded to one size on the way."""
        longest = -(-total // self.world_size)
        padded = torch.zeros((longest, *rows.shape[1:]), dtype=rows.dtype, device=self.device)
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.world_size)]
        torch.distributed.all_gather(parts, padded)
        if self.rank != 0:
            return None
        sizes = [
            (rank + 1) * total // self.world_size - rank * total // self.world_size
            for rank in range(self.world_size)
        ]
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def share_buffers(self, model: nn.Module) -> None:
        """Overwrite the buffers of all workers with those of rank 0."""
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's ``value`` on every worker."""
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

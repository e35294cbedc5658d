"""Synchronous data parallelism over ``torch.distributed``."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rayfold.isolation import Snapshot, isolated, own_generators
from rayfold.training.strategies.base import Strategy

TRIES = 4
"""How often the model is tried before it is trained: which layers it uses may be drawn."""


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

    def wrap(self, model: nn.Module, features: Sequence[Tensor]) -> nn.Module:
        """Return ``model`` in ``DistributedDataParallel``.

        Looking for parameters that a step does not use costs time in every step, so that it is
        done only where a few tries on the first batch leave one out, on any worker.
        """
        left_out = torch.tensor(float(_leaves_out(model, features)))
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(
            model,
            device_ids=devices,
            find_unused_parameters=float(self.sum(left_out)) > 0,
        )

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


def _leaves_out(model: nn.Module, features: Sequence[Tensor]) -> bool:
    """Tell whether a parameter takes no part in the outputs, in any of a few tries."""
    trained = {parameter for parameter in model.parameters() if parameter.requires_grad}
    before, found = Snapshot(model, parameters=True), False
    for attempt in range(TRIES):
        with own_generators(attempt, features[0].device), isolated():
            outputs = model(*(feature.clone() for feature in features))
        found = found or not trained <= _reached(outputs)
        before.restore()
    return found


def _reached(outputs: object) -> set[Tensor]:
    """Return the tensors that a gradient of ``outputs`` would reach; of no tensor none."""
    waiting, seen, reached = [getattr(outputs, "grad_fn", None)], set(), set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (variable := getattr(node, "variable", None)) is not None:
            reached.add(variable)
        waiting += [following for following, _ in node.next_functions]
    return reached

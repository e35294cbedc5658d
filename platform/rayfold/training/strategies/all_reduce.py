"""Synchronous data parallelism: gradients are summed over the workers in every step."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from rayfold.isolation import Snapshot, isolated, own_generators
from rayfold.training.collective import Collective
from rayfold.training.strategies.base import Forward, Share, Strategy

TRIES = 4
"""How often the model is tried before it is trained: which layers it uses may be drawn."""


class AllReduce(Strategy):
    """Every worker holds the model; gradients are all-reduced during the backward pass.

    ``DistributedDataParallel`` averages gradients over the workers, whatever their number of
    rows. A worker's loss is therefore the sum over its rows, divided by the rows of the whole
    batch and multiplied by the number of workers: the average is then the gradient of the mean
    loss over the whole batch, with equal or unequal shares. One worker trains without it.
    """

    def training_share(self, num_rows: int) -> Share:
        """Return at least 2 rows: batch normalisation cannot train on one.

        Where they do not suffice, the last workers get rows of others to keep step. A batch of one
        row goes to the first worker.
        """
        busy = max(1, min(self.collective.world_size, num_rows // 2))
        return self._share(num_rows, busy)

    def validation_share(self, num_rows: int) -> Share:
        """Return contiguous rows; sizes differ by at most 1."""
        return self._share(num_rows, self.collective.world_size)

    def _share(self, num_rows: int, num_parts: int) -> Share:
        rank = self.collective.rank
        start, stop = rank * num_rows // num_parts, (rank + 1) * num_rows // num_parts
        if rank >= num_parts or start == stop:
            return Share(slice(0, 2), weight=0.0)
        return Share(slice(start, stop))

    def wrap(self, module: nn.Module) -> Forward:
        """Return the module, or what synchronises its gradients between several workers."""
        return module if self.collective.world_size == 1 else _Replica(module, self.collective)

    def backward(self, losses: Tensor, *, weight: float, num_rows: int) -> None:
        """Compute the gradients; ``DistributedDataParallel`` divides them by the workers."""
        scale = weight * self.collective.world_size / num_rows
        losses.backward(losses.new_full((len(losses),), scale))  # faster than that of a sum

    def end_epoch(self, model: nn.Module, optimizers: Mapping[str, Optimizer]) -> None:
        """Give every worker rank 0's buffers: running statistics differ, weights do not."""
        if self.collective.world_size > 1:
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, src=0)


class _Replica:
    """A module in ``DistributedDataParallel``, which is built at the first training pass.

    Looking for parameters that a step does not use costs time in every step, so that it is done
    only where a few tries on the first batch leave one out, on any worker.
    """

    def __init__(self, module: nn.Module, collective: Collective) -> None:
        self._module, self._collective = module, collective
        self._parallel: DistributedDataParallel | None = None

    def __call__(self, *inputs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._module(*inputs)
        if self._parallel is None:
            device = self._collective.device
            left_out = torch.tensor(float(_leaves_out(self._module, inputs, device)))
            self._parallel = DistributedDataParallel(
                self._module,
                device_ids=[device] if device.type == "cuda" else None,
                find_unused_parameters=float(self._collective.sum(left_out)) > 0,
            )
        return self._parallel(*inputs)


def _leaves_out(model: nn.Module, inputs: tuple[Any, ...], device: torch.device) -> bool:
    """Tell whether a parameter takes no part in the outputs, in any of a few tries.

    Model and inputs are as they were afterwards.
    """
    trained = {parameter for parameter in model.parameters() if parameter.requires_grad}
    before, found = Snapshot(model, parameters=True), False
    for attempt in range(TRIES):
        with own_generators(attempt, device), isolated():
            outputs = model(*(each.clone() for each in inputs))
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

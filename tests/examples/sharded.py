"""A strategy that shards weights, gradients and moments: each worker holds a part of each."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from rayfold.training import Collective
from rayfold.training.strategies import Share, Strategy
from rayfold.training.strategies.base import Forward


class Sharded(Strategy):
    """A parameter is whole only while it is used."""

    def __init__(self, collective: Collective) -> None:
        super().__init__(collective)
        self._shapes: dict[Tensor, Size] = {}

    def training_share(self, num_rows: int) -> Share:
        """Return contiguous rows."""
        return self.validation_share(num_rows)

    def validation_share(self, num_rows: int) -> Share:
        """Return contiguous rows."""
        rank, world_size = self.collective.rank, self.collective.world_size
        start, stop = (end * num_rows // world_size for end in (rank, rank + 1))
        return Share(slice(start, stop)) if start < stop else Share(slice(0, 2), weight=0.0)

    def wrap(self, module: nn.Module) -> Forward:
        """Replace the module's parameters by this worker's parts."""
        for name, parameter in list(module.named_parameters()):
            owner, _, leaf = name.rpartition(".")
            shard = nn.Parameter(self.part_of(parameter.detach()))
            self._shapes[shard] = parameter.shape
            setattr(module.get_submodule(owner), leaf, shard)

        def forward(*inputs: Any) -> Any:
            whole = {
                name: _Whole.apply(shard, self._shapes[shard], self)  # type: ignore[no-untyped-call]
                for name, shard in module.named_parameters()
            }
            return functional_call(module, whole, inputs)

        return forward

    def backward(self, losses: Tensor, *, weight: float, num_rows: int) -> None:
        """Compute gradients of the parts; ``_Whole`` sums them over the workers."""
        (losses.sum() * weight / num_rows).backward()

    def end_epoch(self, model: nn.Module, optimizers: Mapping[str, Optimizer]) -> None:
        """Give every worker rank 0's buffers."""
        for buffer in model.buffers():
            buffer.copy_(self.collective.broadcast(buffer))

    def full_state(self, part: nn.Module | Optimizer) -> dict[str, Any]:
        """Join the parts, on every worker."""
        state = part.state_dict()
        if isinstance(part, nn.Module):
            whole = {name: self.whole(p, self._shapes[p]) for name, p in part.named_parameters()}
            return {**state, **whole}
        for number, parameter in enumerate(_parameters(part)):
            moments = state["state"].get(number, {})
            state["state"][number] = {
                key: self.whole(value, self._shapes[parameter])
                if isinstance(value, Tensor) and value.shape == parameter.shape
                else value
                for key, value in moments.items()
            }
        return state

    def load_full_state(self, part: nn.Module | Optimizer, state: dict[str, Any]) -> None:
        """Take this worker's parts."""
        if isinstance(part, nn.Module):
            own = {name: self.part_of(state[name]) for name, _ in part.named_parameters()}
            part.load_state_dict({**state, **own})
            return
        parts = {
            number: {
                key: self.part_of(value)
                if isinstance(value, Tensor) and value.shape == self._shapes[parameter]
                else value
                for key, value in state["state"].get(number, {}).items()
            }
            for number, parameter in enumerate(_parameters(part))
        }
        part.load_state_dict({**state, "state": parts})

    def part_of(self, whole: Tensor) -> Tensor:
        """Return this worker's part of a tensor, padded so that all parts have one length."""
        world_size = self.collective.world_size
        padded = whole.new_zeros(world_size, -(-whole.numel() // world_size))
        padded.view(-1)[: whole.numel()] = whole.reshape(-1)
        return padded[self.collective.rank].clone()

    def whole(self, shard: Tensor, shape: Size) -> Tensor:
        """Join the parts of a tensor."""
        parts = shard.new_zeros(self.collective.world_size, len(shard))
        parts[self.collective.rank] = shard.detach()
        return self.collective.sum(parts).view(-1)[: shape.numel()].view(shape).clone()


class _Whole(torch.autograd.Function):
    """A whole parameter made of the workers' parts; its gradient is summed, then cut again."""

    @staticmethod
    def forward(ctx: Any, shard: Tensor, shape: Size, strategy: Sharded) -> Tensor:
        ctx.strategy = strategy
        return strategy.whole(shard, shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        strategy: Sharded = ctx.strategy
        return strategy.part_of(strategy.collective.sum(gradient)), None, None


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]

"""An optimiser that steps by the sign of a running mean of the gradients."""

from collections.abc import Iterable
from typing import Any

import torch


class SignDescent(torch.optim.Optimizer):
    """Each weight moves by the learning rate, whatever the size of its gradient.

    Args:
        params: What is optimised.
        lr: The learning rate.
        decay: Share of the running mean that stays at each step.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, decay: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    state = self.state[weight]
                    mean = state.setdefault("mean", torch.zeros_like(weight))
                    mean.lerp_(weight.grad, 1 - group["decay"])
                    weight.sub_(mean.sign(), alpha=group["lr"])

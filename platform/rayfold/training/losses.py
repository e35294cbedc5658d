"""Losses by name."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from rayfold.data import Task
from rayfold.errors import RecipeError, did_you_mean

LOSSES: Mapping[str, tuple[Task, type[nn.Module]]] = {
    "cross_entropy": ("classification", nn.CrossEntropyLoss),
    "mse": ("regression", nn.MSELoss),
    "mae": ("regression", nn.L1Loss),
    "huber": ("regression", nn.HuberLoss),
    "smooth_l1": ("regression", nn.SmoothL1Loss),
}

DEFAULT_LOSS: Mapping[Task, str] = {"classification": "cross_entropy", "regression": "mse"}


def check_loss(name: str | None, task: Task) -> str:
    """Return the loss's name, the task's default for None.

    Raises:
        RecipeError: If there is no such loss, or it belongs to the other task.
    """
    if name is None:
        return DEFAULT_LOSS[task]
    fitting = tuple(known for known, (kind, _) in LOSSES.items() if kind == task)
    if name not in fitting:
        raise RecipeError(
            f"loss {name!r} is not for {task}{did_you_mean(name, fitting)}; "
            f"choose one of {', '.join(fitting)}."
        )
    return name


def build_loss(name: str, parameters: Mapping[str, Any]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function of outputs ``(rows, outputs)`` and labels to one loss per row ``(rows,)``.

    Args:
        name: A key of ``LOSSES``.
        parameters: Keyword arguments of the PyTorch class (``label_smoothing``, ``delta`` ...).
    """
    loss = LOSSES[name][1](reduction="none", **parameters)

    def per_row(outputs: Tensor, labels: Tensor) -> Tensor:
        values: Tensor = loss(outputs, labels)
        return values if values.dim() == 1 else values.flatten(1).mean(1)

    return per_row

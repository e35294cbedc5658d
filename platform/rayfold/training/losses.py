"""Losses by name, of a task."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from rayfold.errors import RecipeError, did_you_mean
from rayfold.tasks import Task


def check_loss(name: str | None, task: Task) -> str:
    """Return the loss's name, the task's default for None.

    Raises:
        RecipeError: If the task has no such loss.
    """
    if name is None:
        return task.default_loss
    fitting = tuple(task.losses())
    if name not in fitting:
        raise RecipeError(
            f"loss {name!r} is not for {task}{did_you_mean(name, fitting)}; "
            f"choose one of {', '.join(fitting)}."
        )
    return name


def build_loss(
    task: Task, name: str, parameters: Mapping[str, Any]
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function of outputs and labels to one loss per row ``(rows,)``.

    Args:
        task: The task.
        name: A key of its ``losses()``.
        parameters: Keyword arguments of the loss's class (``label_smoothing``, ``delta`` ...).
    """
    loss = task.losses()[name](reduction="none", **parameters)

    def per_row(outputs: Tensor, labels: Tensor) -> Tensor:
        values: Tensor = loss(outputs, labels)
        return values if values.dim() == 1 else values.flatten(1).mean(1)

    return per_row

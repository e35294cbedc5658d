"""Losses: those of a task by name, all others by reference."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from rayfold.errors import ModelError
from rayfold.registry import Registry, arguments_of
from rayfold.tasks import Task
from rayfold.user_code import SourceCode

LOSSES: Registry[nn.Module] = Registry("loss", "torch.nn:Module")
"""Finds losses by reference. ``losses_of`` adds the names that a task knows."""

_SET_HERE = frozenset({"weight", "size_average", "reduce", "reduction", "ignore_index"})


def losses_of(task: Task) -> Registry[nn.Module]:
    """Return the registry of losses for a task."""
    return replace(LOSSES, names=task.losses(), scope=f" for {task}")


def check_loss(
    name: str | None, task: Task, code: Mapping[str, SourceCode] | None = None
) -> tuple[str, tuple[str, ...]]:
    """Check a loss; return its name and the hyperparameters that it takes.

    Args:
        name: A name or a reference; None takes the task's default.
        task: The task.
        code: The code of a loss that is named by reference.

    Raises:
        ModelError: If the task has no such loss, or the loss cannot be imported, does not take
            ``reduction``, or has an argument without a default.
    """
    name, losses = name or task.default_loss, losses_of(task)
    make = losses.find(name, code=code)
    arguments = arguments_of(make)
    if "reduction" not in arguments:
        raise ModelError(
            f"loss {name!r} takes no reduction; add the argument reduction to its constructor; "
            "with reduction='none' it must return one value per row."
        )
    losses.check_defaults(name, make)
    return name, tuple(argument for argument in arguments if argument not in _SET_HERE)


def build_loss(
    task: Task,
    name: str,
    parameters: Mapping[str, Any],
    code: Mapping[str, SourceCode] | None = None,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function of outputs and labels to one loss per row ``(rows,)``.

    Args:
        task: The task.
        name: A key of its ``losses()``, or a reference.
        parameters: Keyword arguments of the loss's class (``label_smoothing``, ``delta`` ...).
        code: The code of a loss that is named by reference.
    """
    loss = losses_of(task).find(name, code=code)(reduction="none", **parameters)

    is_known = name in task.losses()

    def per_row(outputs: Tensor, labels: Tensor) -> Tensor:
        values: Tensor = loss(outputs, labels)
        if not is_known and values.shape[:1] != labels.shape[:1]:
            raise ModelError(
                f"loss {name!r} must return one value per row, shape ({len(labels)},), with "
                f"reduction='none', got shape {tuple(values.shape)}."
            )
        return values if values.dim() == 1 else values.flatten(1).mean(1)

    return per_row

"""Learning-rate schedules by name, all with an optional linear warm-up."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from rayfold.errors import RecipeError, did_you_mean
from rayfold.results import MAX_COUNT, Value
from rayfold.space import Choice, SearchSpace
from rayfold.space.values import show

SCHEDULES: Mapping[str, Mapping[str, Value]] = {
    "constant": {},
    "step": {"step_epochs": 10, "gamma": 0.1},
    "cosine": {"final_fraction": 0.0},
}
"""Name to its own hyperparameters with their defaults; all take ``warmup_epochs``, too."""


def build_schedule(
    optimizer: torch.optim.Optimizer,
    config: Mapping[str, Value],
    *,
    epochs: int,
    steps_per_epoch: int,
    rate_factors: Sequence[Callable[[float], float]] = (),
) -> "Schedule":
    """Build the schedule that a configuration names; it is stepped after every batch.

    Args:
        optimizer: Whose learning rate is scheduled.
        config: The ``schedule.*`` part of a configuration without that prefix: ``name`` (default
            ``"constant"``), ``warmup_epochs`` (default 0, fractions allowed), ``step_epochs`` and
            ``gamma`` for ``"step"``, ``final_fraction`` for ``"cosine"``.
        epochs: Epochs of a complete training.
        steps_per_epoch: Batches in an epoch.
        rate_factors: A function of the epoch, fractions included, for each of the optimiser's
            groups, whose value its learning rate is multiplied by; none: 1 for all.
    """
    arguments: dict[str, Any] = dict(config)
    name = arguments.pop("name", "constant")
    warmup_steps = float(arguments.pop("warmup_epochs", 0)) * steps_per_epoch
    values = {**SCHEDULES[name], **arguments}

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        if name == "step":
            decays = step // (float(values["step_epochs"]) * steps_per_epoch)
            return float(float(values["gamma"]) ** decays)
        if name == "cosine":
            progress = (step - warmup_steps) / max(1.0, epochs * steps_per_epoch - warmup_steps)
            last = float(values["final_fraction"])
            return last + (1 - last) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
        return 1.0

    def of_group(rate_factor: Callable[[float], float]) -> Callable[[int], float]:
        return lambda step: factor(step) * rate_factor(step / steps_per_epoch)

    num_groups = len(optimizer.param_groups)
    factors = [of_group(each) for each in rate_factors] or [factor] * num_groups
    changes = name != "constant" or warmup_steps > 0 or bool(rate_factors)
    return Schedule(optimizer, factors, changes=changes)


class Schedule:
    """The learning rates of an optimiser's groups, each a function of the steps taken.

    It does what PyTorch's ``LambdaLR`` does, but leaves ``optimizer.step`` as it is, which costs a
    small model some percent of a step.

    Args:
        optimizer: Whose learning rates are scheduled, from now on.
        factors: For each of its groups a function of the steps taken, whose value its learning
            rate is multiplied by.
        changes: Whether a factor ever changes.

    Attributes:
        num_steps: Steps taken so far.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        factors: Sequence[Callable[[int], float]],
        *,
        changes: bool,
    ) -> None:
        self._optimizer = optimizer
        self._changes = changes
        rates = [group["lr"] for group in optimizer.param_groups]
        self._rates = list(zip(rates, factors, strict=True))
        self.go_to(0)

    def step(self) -> None:
        """Go on by a step."""
        if self._changes:
            self.go_to(self.num_steps + 1)
        else:
            self.num_steps += 1

    def go_to(self, num_steps: int) -> None:
        """Set the learning rates that come after so many steps."""
        self.num_steps = num_steps
        for group, (rate, factor) in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor(num_steps)


def check_schedule(space: SearchSpace, fixed: Mapping[str, Value]) -> None:
    """Check the ``schedule.*`` parameters.

    Raises:
        RecipeError: If a schedule or one of its parameters is unknown, or a value is out of range.
    """
    domain = space.get("schedule.name")
    if domain is not None and not isinstance(domain, Choice):
        raise RecipeError("schedule.name must be a choice of names, not a number.")
    names = domain.values if domain else (fixed.get("schedule.name", "constant"),)
    for name in names:
        if name not in SCHEDULES:
            raise RecipeError(
                f"schedule.name {name!r} is unknown{did_you_mean(str(name), tuple(SCHEDULES))}; "
                f"choose from {', '.join(SCHEDULES)}."
            )
    known = {"name", "warmup_epochs", *(key for name in names for key in SCHEDULES[str(name)])}
    for parameter in [*space.names, *fixed]:
        prefix, _, short = parameter.partition(".")
        if prefix == "schedule" and short not in known:
            raise RecipeError(
                f"{parameter} does not belong to schedule {', '.join(map(str, names))}"
                f"{did_you_mean(short, tuple(known))}; known are {', '.join(sorted(known))}."
            )
        if prefix == "schedule" and short != "name":
            for value in space[parameter].extremes if parameter in space else [fixed[parameter]]:
                _check_value(parameter, value)


def _check_value(parameter: str, value: Value) -> None:
    above = parameter == "schedule.step_epochs"
    if isinstance(value, bool | str) or not 0 <= value <= MAX_COUNT or (above and not value):
        least = "above 0, at most" if above else "from 0 to"
        raise RecipeError(f"{parameter} must be a number {least} {MAX_COUNT}, not {show(value)}.")

"""Learning-rate schedules, all with an optional linear warm-up."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rayfold.errors import RecipeError, did_you_mean
from rayfold.registry import Registry, arguments_of
from rayfold.results import MAX_COUNT, Value
from rayfold.space import SearchSpace
from rayfold.space.values import show
from rayfold.training.optimizers import possible_names
from rayfold.user_code import SourceCode

DEFAULT_SCHEDULE = "constant"


@dataclass(frozen=True)
class Span:
    """How long a training is, in steps.

    Attributes:
        per_epoch: Steps in an epoch.
        warmup: Steps of the warm-up; need not be a whole number.
        total: Steps of a complete training, including the warm-up.
    """

    per_epoch: int
    warmup: float
    total: int


class Schedule(ABC):
    """A factor of the learning rate, as a function of the steps taken.

    The arguments of the constructor are numbers with defaults. They are hyperparameters, named
    ``schedule.`` and the argument. A schedule has no state, so training can resume at any step.
    """

    @abstractmethod
    def factor(self, step: int, span: Span) -> float:
        """Return the factor after some steps.

        Args:
            step: Steps taken so far, at least ``span.warmup``.
            span: How long the training is.
        """


class Constant(Schedule):
    """The learning rate stays constant."""

    def factor(self, step: int, span: Span) -> float:
        """Return 1."""
        return 1.0


class Decay(Schedule):
    """The learning rate is multiplied by ``gamma`` after every ``step_epochs`` epochs."""

    def __init__(self, *, step_epochs: float = 10, gamma: float = 0.1) -> None:
        self._step_epochs, self._gamma = float(step_epochs), float(gamma)

    def factor(self, step: int, span: Span) -> float:
        """Return ``gamma`` to the power of the number of decays."""
        return float(self._gamma ** (step // (self._step_epochs * span.per_epoch)))


class Cosine(Schedule):
    """The learning rate falls by half a cosine to ``final_fraction`` of itself."""

    def __init__(self, *, final_fraction: float = 0.0) -> None:
        self._last = float(final_fraction)

    def factor(self, step: int, span: Span) -> float:
        """Return a value from 1 down to ``final_fraction``."""
        progress = (step - span.warmup) / max(1.0, span.total - span.warmup)
        wave = 1 + math.cos(math.pi * min(1.0, progress))
        return self._last + (1 - self._last) * wave / 2


SCHEDULES = Registry[Schedule](
    "schedule.name",
    "rayfold.training:Schedule",
    {"constant": Constant, "step": Decay, "cosine": Cosine},
)


def build_schedule(
    optimizer: torch.optim.Optimizer,
    config: Mapping[str, Value],
    *,
    epochs: int,
    steps_per_epoch: int,
    rate_factors: Sequence[Callable[[float], float]] = (),
    code: Mapping[str, SourceCode] | None = None,
) -> "LearningRates":
    """Build the schedule that a configuration names; it is stepped after every batch.

    Args:
        optimizer: Whose learning rate is scheduled.
        config: The ``schedule.*`` part of a configuration without that prefix: ``name`` (default
            ``"constant"``), ``warmup_epochs`` (default 0, fractions allowed), and the arguments of
            the schedule; arguments of other schedules are ignored.
        epochs: Epochs of a complete training.
        steps_per_epoch: Batches in an epoch.
        rate_factors: A function of the epoch, fractions included, for each of the optimiser's
            groups, whose value its learning rate is multiplied by; none: 1 for all.
        code: The code of schedules that are named by reference.
    """
    arguments: dict[str, Any] = dict(config)
    make = SCHEDULES.find(arguments.pop("name", DEFAULT_SCHEDULE), code=code)
    warmup = float(arguments.pop("warmup_epochs", 0)) * steps_per_epoch
    taken = arguments_of(make)
    schedule = make(**{name: value for name, value in arguments.items() if name in taken})
    span = Span(steps_per_epoch, warmup, epochs * steps_per_epoch)

    def factor(step: int) -> float:
        return (step + 1) / (warmup + 1) if step < warmup else schedule.factor(step, span)

    def of_group(rate_factor: Callable[[float], float]) -> Callable[[int], float]:
        return lambda step: factor(step) * rate_factor(step / steps_per_epoch)

    num_groups = len(optimizer.param_groups)
    factors = [of_group(each) for each in rate_factors] or [factor] * num_groups
    changes = not isinstance(schedule, Constant) or warmup > 0 or bool(rate_factors)
    return LearningRates(optimizer, factors, changes=changes)


class LearningRates:
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


def check_schedule(
    space: SearchSpace,
    fixed: Mapping[str, Value],
    code: Mapping[str, SourceCode] | None = None,
) -> None:
    """Check the ``schedule.*`` parameters.

    Raises:
        RecipeError: If a schedule or one of its parameters is unknown, or a value is out of range.
    """
    names = possible_names("schedule.name", space, fixed, DEFAULT_SCHEDULE)
    known = {"name", "warmup_epochs"}
    for name in names:
        schedule = SCHEDULES.find(name, code=code)
        SCHEDULES.check_defaults(name, schedule)
        known |= {*arguments_of(schedule)}
    for parameter in [*space.names, *fixed]:
        prefix, _, short = parameter.partition(".")
        if prefix == "schedule" and short not in known:
            raise RecipeError(
                f"{parameter} does not belong to schedule {', '.join(names)}"
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

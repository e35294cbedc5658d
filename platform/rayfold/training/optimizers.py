"""Optimisers: those of PyTorch by name, all others by reference."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch

from rayfold.errors import RecipeError, did_you_mean
from rayfold.registry import Registry, arguments_of
from rayfold.results import MAX_COUNT, Value
from rayfold.space import Choice, SearchSpace
from rayfold.space.values import show
from rayfold.user_code import SourceCode

OPTIMIZERS = Registry[torch.optim.Optimizer](
    "optimizer.name",
    "torch.optim:Optimizer",
    {
        "sgd": torch.optim.SGD,
        "momentum": partial(torch.optim.SGD, momentum=0.9),
        "nesterov": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
        "adagrad": torch.optim.Adagrad,
        "rmsprop": torch.optim.RMSprop,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    },
)

DEFAULT_OPTIMIZER = "adamw"
DEFAULT_LEARNING_RATE = 1e-3

Make: TypeAlias = Callable[..., torch.optim.Optimizer]

_SET_HERE = frozenset({"params", "lr", "nesterov"})
_NOT_SEARCHED = frozenset(  # pairs of values, and what is no matter of learning
    {"betas", "maximize", "foreach", "fused", "capturable", "differentiable"}
)


def optimizer_parameters(optimizer: Make) -> tuple[str, ...]:
    """Return the hyperparameters that an optimiser takes, ``learning_rate`` first."""
    accepted = [name for name in arguments_of(optimizer) if name not in _SET_HERE | _NOT_SEARCHED]
    return ("learning_rate", *accepted)


def build_optimizer(
    parameters: Iterable[Any],
    config: Mapping[str, Value],
    code: Mapping[str, SourceCode] | None = None,
) -> torch.optim.Optimizer:
    """Build the optimiser that a configuration names.

    Args:
        parameters: What is to be optimised, or groups of it as PyTorch takes them.
        config: The ``optimizer.*`` part of a configuration without that prefix: ``name``
            (default ``"adamw"``), ``learning_rate`` (default 0.001), and the optimiser's others.
        code: The code of optimisers that are named by reference.
    """
    arguments: dict[str, Any] = dict(config)
    make = OPTIMIZERS.find(arguments.pop("name", DEFAULT_OPTIMIZER), code=code)
    learning_rate = arguments.pop("learning_rate", DEFAULT_LEARNING_RATE)
    return make(list(parameters), lr=learning_rate, **arguments)


def check_optimizer(
    space: SearchSpace,
    fixed: Mapping[str, Value],
    code: Mapping[str, SourceCode] | None = None,
) -> None:
    """Check every ``optimizer.*`` parameter against every optimiser that it can meet.

    Raises:
        RecipeError: If an optimiser is unknown, lacks an argument or would get one that it does
            not take, or if a value has the wrong type or is below 0.
    """
    makes = {
        name: OPTIMIZERS.find(name, code=code)
        for name in possible_names("optimizer.name", space, fixed, DEFAULT_OPTIMIZER)
    }
    given = [name for name in (*space.names, *fixed) if name.startswith("optimizer.")]
    for name, make in makes.items():
        _check_arguments(name, make, given)
    for parameter in given:
        short = parameter.removeprefix("optimizer.")
        for name, make in makes.items():
            if short == "name" or not _can_meet(space, parameter, name):
                continue
            accepted = optimizer_parameters(make)
            if short not in accepted:
                raise RecipeError(
                    f"{parameter} does not belong to optimizer {name!r}"
                    f"{did_you_mean(short, accepted)}, which takes {', '.join(accepted)}; "
                    f"search it with a condition, when: {{optimizer.name: ...}}, or remove it."
                )
            for value in space[parameter].extremes if parameter in space else [fixed[parameter]]:
                _check_value(parameter, value, make)


def possible_names(
    parameter: str, space: SearchSpace, fixed: Mapping[str, Value], default: str
) -> tuple[str, ...]:
    """Return the possible values of a parameter such as ``optimizer.name``.

    Raises:
        RecipeError: If a value is not text, or the domain is not a choice.
    """
    names: Sequence[Value] = (fixed.get(parameter, default),)
    if parameter in space:
        domain = space[parameter]
        names = domain.values if isinstance(domain, Choice) else ()
    texts = tuple(name for name in names if isinstance(name, str))
    if not texts or len(texts) < len(names):
        raise RecipeError(f"{parameter} must be a choice of names, not a number.")
    return texts


def _check_arguments(name: str, make: Make, given: Iterable[str]) -> None:
    """Check that an optimiser takes a learning rate, and gets each argument without a default."""
    arguments = arguments_of(make)
    if "lr" not in arguments:
        raise RecipeError(
            f"optimizer.name {name!r} takes no lr; let its constructor take lr, the learning rate."
        )
    for short, parameter in arguments.items():
        needed = parameter.default is parameter.empty and short not in ("params", "lr")
        if needed and f"optimizer.{short}" not in given:
            raise RecipeError(
                f"optimizer.name {name!r} needs {short}; search or fix optimizer.{short}."
            )


def _check_value(parameter: str, value: Value, make: Make) -> None:
    """Check a value against the default in the signature: a switch, or a number."""
    short = parameter.removeprefix("optimizer.")
    default = arguments_of(make)["lr" if short == "learning_rate" else short].default
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise RecipeError(f"{parameter} must be true or false, not {value!r}.")
    elif isinstance(value, bool | str) or not 0 <= value <= MAX_COUNT:
        raise RecipeError(
            f"{parameter} must be a number from 0 to {MAX_COUNT}, not {show(value)}."
        )


def _can_meet(space: SearchSpace, parameter: str, name: Value) -> bool:
    """Tell whether no condition, however indirect, keeps a parameter from optimiser ``name``."""
    if parameter not in space:
        return True
    return all(
        name in condition.values
        if condition.parameter == "optimizer.name"
        else _can_meet(space, condition.parameter, name)
        for condition in space[parameter].when
    )

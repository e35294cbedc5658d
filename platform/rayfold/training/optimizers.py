"""Optimisers by name, over PyTorch's own."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from rayfold.errors import RecipeError, did_you_mean
from rayfold.results import MAX_COUNT, Value
from rayfold.space import Choice, SearchSpace
from rayfold.space.values import show

OPTIMIZERS: Mapping[str, tuple[type[torch.optim.Optimizer], Mapping[str, Any]]] = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (torch.optim.Adagrad, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
}
"""Name to PyTorch class and to the arguments that set it apart."""

DEFAULT_OPTIMIZER = "adamw"
DEFAULT_LEARNING_RATE = 1e-3

_SET_HERE = frozenset({"self", "params", "lr", "nesterov"})
_NOT_SEARCHED = frozenset(  # pairs of values, and what is no matter of learning
    {"betas", "maximize", "foreach", "fused", "capturable", "differentiable"}
)


def optimizer_parameters(name: str) -> tuple[str, ...]:
    """Return the hyperparameters that optimiser ``name`` takes, ``learning_rate`` first."""
    accepted = [
        parameter
        for parameter in inspect.signature(OPTIMIZERS[name][0].__init__).parameters
        if parameter not in _SET_HERE | _NOT_SEARCHED
    ]
    return ("learning_rate", *accepted)


def build_optimizer(
    parameters: Iterable[Any], config: Mapping[str, Value]
) -> torch.optim.Optimizer:
    """Build the optimiser that a configuration names.

    Args:
        parameters: What is to be optimised, or groups of it as PyTorch takes them.
        config: The ``optimizer.*`` part of a configuration without that prefix: ``name``
            (default ``"adamw"``), ``learning_rate`` (default 0.001), and the optimiser's others.
    """
    arguments: dict[str, Any] = dict(config)
    optimizer, presets = OPTIMIZERS[arguments.pop("name", DEFAULT_OPTIMIZER)]
    learning_rate = arguments.pop("learning_rate", DEFAULT_LEARNING_RATE)
    return optimizer(list(parameters), **{"lr": learning_rate, **presets, **arguments})


def check_optimizer(space: SearchSpace, fixed: Mapping[str, Value]) -> None:
    """Check every ``optimizer.*`` parameter against every optimiser that it can meet.

    Raises:
        RecipeError: If an optimiser is unknown, or would be given a parameter that it lacks, or
            a value of another kind or below 0.
    """
    names = _possible_names(space, fixed)
    for name in names:
        if name not in OPTIMIZERS:
            raise RecipeError(
                f"optimizer.name {name!r} is unknown{did_you_mean(str(name), tuple(OPTIMIZERS))}; "
                f"choose from {', '.join(OPTIMIZERS)}."
            )
    for parameter in [*space.names, *fixed]:
        prefix, _, short = parameter.partition(".")
        if prefix != "optimizer" or short == "name":
            continue
        for name in names:
            if not _can_meet(space, parameter, name):
                continue
            accepted = optimizer_parameters(str(name))
            if short not in accepted:
                raise RecipeError(
                    f"{parameter} does not belong to optimizer {name!r}"
                    f"{did_you_mean(short, accepted)}, which takes {', '.join(accepted)}; "
                    f"search it with a condition, when: {{optimizer.name: ...}}, or remove it."
                )
            for value in space[parameter].extremes if parameter in space else [fixed[parameter]]:
                _check_value(parameter, value, str(name))


def _possible_names(space: SearchSpace, fixed: Mapping[str, Value]) -> tuple[Value, ...]:
    if "optimizer.name" in space:
        domain = space["optimizer.name"]
        if not isinstance(domain, Choice):
            raise RecipeError("optimizer.name must be a choice of names, not a number.")
        return tuple(domain.values)
    return (fixed.get("optimizer.name", DEFAULT_OPTIMIZER),)


def _check_value(parameter: str, value: Value, optimizer: str) -> None:
    """Check a value against the default in PyTorch's signature: a switch, or a number."""
    short = parameter.removeprefix("optimizer.")
    signature = inspect.signature(OPTIMIZERS[optimizer][0].__init__)
    default = signature.parameters["lr" if short == "learning_rate" else short].default
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

"""What of a model may change while it trains: nothing that gives a weight another shape."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import nn

from rayfold.data import DataSet
from rayfold.errors import ModelError, RecipeError
from rayfold.isolation import own_generators
from rayfold.library import build_model, model_arguments
from rayfold.results import Config, Value
from rayfold.space import SearchSpace
from rayfold.training.lazy_modules import blank_rows, materialise
from rayfold.training.warm_start import tensor_shapes

Shapes: TypeAlias = dict[str, tuple[int, ...]]


def check_shapes_stay(
    names: Sequence[str],
    space: SearchSpace,
    fixed: Config,
    *,
    model_class: type[nn.Module],
    data: DataSet,
) -> None:
    """Check that parameters of a model leave its weights' names and shapes as they are.

    The model is built at both ends of each domain, in the middle of all others, without memory
    for its weights.

    Args:
        names: Parameters of the space; only those under ``model.`` are looked at.
        space: What is searched.
        fixed: What is not searched.
        model_class: Takes what is under ``model.``.
        data: For the shapes.

    Raises:
        RecipeError: If the weights differ.
    """
    middle = {name: domain.from_unit(0.5) for name, domain in space.items()}
    for name in names:
        if not name.startswith("model."):
            continue
        needed = {condition.parameter: condition.values[0] for condition in space[name].when}
        values = {**middle, **needed}
        active = {other: values[other] for other in (*space.active(values), name)}
        low, high = (
            _shapes(model_class, {**fixed, **active, name: value}, data)
            for value in (space[name].from_unit(0.0), space[name].from_unit(1.0))
        )
        if differing := _differing(low, high):
            raise RecipeError(
                f"perturb: {name} changes the model's weights ({differing}), which cannot be "
                "gone on with; leave it out."
            )


def check_schedule_keeps_shapes(
    schedule: Sequence[tuple[int, Config]],
    fixed: Config,
    *,
    model_class: type[nn.Module],
    data: DataSet,
) -> None:
    """Check that a schedule leaves the names and shapes of a model's weights as they are.

    The model is built before and after each change of its parameters, without memory for its
    weights.

    Args:
        schedule: Pairs of an epoch and the configuration from then on, all with the same names.
        fixed: What is not searched.
        model_class: Takes what is under ``model.``.
        data: For the shapes.

    Raises:
        RecipeError: If the weights differ.
    """
    for (_, before), (epoch, config) in pairwise(schedule):
        changes = [
            f"{name} from {before[name]!r} to {value!r}"
            for name, value in config.items()
            if name.startswith("model.") and before[name] != value
        ]
        if not changes:
            continue
        old, new = (_shapes(model_class, {**fixed, **values}, data) for values in (before, config))
        if differing := _differing(old, new):
            raise RecipeError(
                f"schedule, epoch {epoch}: {' and '.join(changes)} changes the model's weights "
                f"({differing}), which cannot be gone on with; leave that out."
            )


def _differing(shapes: Shapes, others: Shapes) -> str | None:
    """Return a weight that only one model has, or each in another shape."""
    return next((w for w in {**shapes, **others} if shapes.get(w) != others.get(w)), None)


def _shapes(model_class: type[nn.Module], config: dict[str, Value], data: DataSet) -> Shapes:
    arguments = model_arguments(
        model_class, config, input_shapes=data.input_shapes, num_outputs=data.num_outputs
    )
    try:
        with torch.device("meta"):
            model = build_model(model_class, arguments)
            materialise(model, blank_rows(data.input_shapes, "meta"))
    except (ModelError, NotImplementedError):  # it computes with its weights
        with own_generators(0):
            model = build_model(model_class, arguments)
            materialise(model, blank_rows(data.input_shapes))
    return tensor_shapes(model.state_dict())

"""What of a model may change while it trains: nothing that gives a weight another shape."""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import nn

from rayfold.data import DataSet
from rayfold.errors import ModelError, RecipeError
from rayfold.library import build_model, model_arguments
from rayfold.results import Config, Value
from rayfold.space import SearchSpace

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
        if low != high:
            differing = next(w for w in {**low, **high} if low.get(w) != high.get(w))
            raise RecipeError(
                f"perturb: {name} changes the model's weights ({differing}), which cannot be "
                "gone on with; leave it out."
            )


def _shapes(model_class: type[nn.Module], config: dict[str, Value], data: DataSet) -> Shapes:
    arguments = model_arguments(
        model_class, config, input_shapes=data.input_shapes, num_outputs=data.num_outputs
    )
    try:
        with torch.device("meta"):
            model = build_model(model_class, arguments)
    except (ModelError, NotImplementedError):  # it computes with its weights
        with torch.random.fork_rng(devices=[]):
            model = build_model(model_class, arguments)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}

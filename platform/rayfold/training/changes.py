"""Changes of a model while it trains: nothing may change the shape of a weight."""

from collections.abc import Iterable
from typing import TypeAlias

import torch
from torch import nn

from rayfold.data import DataSet
from rayfold.errors import ModelError, RecipeError
from rayfold.isolation import own_generators
from rayfold.model_construction import build_model, model_arguments
from rayfold.results import Config, Value, ValueChange
from rayfold.training.lazy_modules import blank_rows, materialise
from rayfold.training.warm_start import tensor_shapes

Shapes: TypeAlias = dict[str, tuple[int, ...]]


def check_changes(
    changes: Iterable[ValueChange],
    fixed: Config,
    *,
    model_class: type[nn.Module],
    data: DataSet,
) -> None:
    """Check that changes of hyperparameters leave the names and shapes of a model's weights.

    The model is built before and after each change, without memory for its weights.

    Args:
        changes: The changes while it trains.
        fixed: Fixed hyperparameters.
        model_class: The model, which takes hyperparameters under ``model.``.
        data: The data set, for the shapes.

    Raises:
        RecipeError: If the weights differ.
    """
    for change in changes:
        before, after = (
            _shapes(model_class, {**fixed, **config}, data)
            for config in (change.before, change.after)
        )
        if differing := _differing(before, after):
            raise RecipeError(
                f"{change.what} changes the model's weights ({differing}), which cannot be gone "
                "on with; leave it out."
            )


def _differing(shapes: Shapes, others: Shapes) -> str | None:
    """Return a weight that only one model has, or that has different shapes."""
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

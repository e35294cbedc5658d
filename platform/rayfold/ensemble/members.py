"""The models of logged trials: built and filled with the weights of their folds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from rayfold.ensemble.records import Input
from rayfold.errors import EnsembleError
from rayfold.isolation import own_generators
from rayfold.model_construction import build_model, model_arguments
from rayfold.results import Config
from rayfold.training.lazy_modules import blank_rows, materialise
from rayfold.training.weights_file import load_weights


def arguments_of(
    model_class: type[nn.Module], config: Config, description: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a trial's models are built with: fixed and searched parameters and the data's.

    Args:
        model_class: The model.
        config: The trial's configuration.
        description: The study's description.
    """
    return model_arguments(
        model_class,
        {**description.get("parameters", {}), **config},
        input_shapes=[Input.of(entry).model_shape for entry in description["inputs"]],
        num_outputs=description["num_outputs"],
    )


def load_model(
    model_class: type[nn.Module],
    arguments: Mapping[str, Any],
    file: Path,
    *,
    input_shapes: Sequence[Sequence[int]],
) -> nn.Module:
    """Build a model and fill it with weights.

    Args:
        model_class: The model.
        arguments: What it is built with.
        file: The state dict as safetensors.
        input_shapes: Shape of a row of each input, as the model gets it.

    Returns:
        The model, in evaluation mode.

    Raises:
        EnsembleError: If the weights do not fit the model, or the file is no safetensors.
        ModelError: If the constructor refuses the arguments.
    """
    with own_generators(0):  # the first weights are thrown away
        model = build_model(model_class, arguments)
        materialise(model, blank_rows(input_shapes))
    try:
        state = load_weights(file)
    except (SafetensorError, ValueError) as error:
        raise EnsembleError(f"{file.name} is no readable safetensors file: {error}.") from error
    if problem := _misfit(model.state_dict(), state):
        raise EnsembleError(
            f"{file.name} does not fit {model_class.__name__}: {problem}; "
            "use the class that was trained."
        )
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def _misfit(model: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Say in what a state dict differs from the model's, or nothing."""
    if missing := [name for name in model if name not in given]:
        return f"it lacks {missing[0]!r}"
    if extra := [name for name in given if name not in model]:
        return f"it has {extra[0]!r}, which the model has not"
    for name, tensor in model.items():
        if isinstance(tensor, torch.Tensor) is not isinstance(given[name], torch.Tensor):
            return f"{name!r} is a tensor in one of them only"
        if isinstance(tensor, torch.Tensor) and tensor.shape != given[name].shape:
            return f"{name!r} has shape {tuple(given[name].shape)}, expected {tuple(tensor.shape)}"
    return ""

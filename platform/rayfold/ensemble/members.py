"""The models of logged trials, built with the weights of their folds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from rayfold.description import StudyDescription
from rayfold.errors import EnsembleError
from rayfold.isolation import own_generators
from rayfold.model_construction import build_model, model_arguments
from rayfold.process_guard import guarded_process
from rayfold.results import Config
from rayfold.training.lazy_modules import blank_rows, materialise
from rayfold.training.reloading import misfit
from rayfold.training.weights_file import load_weights


def arguments_of(
    model_class: type[nn.Module], config: Config, description: StudyDescription
) -> dict[str, Any]:
    """Return the arguments of a trial's models: fixed and searched parameters and the data's.

    Args:
        model_class: The model.
        config: The trial's configuration.
        description: The study's description.
    """
    return model_arguments(
        model_class,
        {**description.parameters, **config},
        input_shapes=[entry.model_shape for entry in description.data.inputs],
        num_outputs=description.data.num_outputs,
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
        arguments: Arguments of its constructor.
        file: The state dict as safetensors.
        input_shapes: Shape of a row of each input, as the model gets it.

    Returns:
        The model, in evaluation mode.

    Raises:
        EnsembleError: If the weights do not fit the model, or the file is not safetensors.
        ModelError: If the constructor refuses the arguments.
    """
    with guarded_process(), own_generators(0):  # the first weights are thrown away
        model = build_model(model_class, arguments)
        materialise(model, blank_rows(input_shapes))
    try:
        state = load_weights(file)
    except (SafetensorError, ValueError) as error:
        raise EnsembleError(f"{file.name} is no readable safetensors file: {error}.") from error
    if problem := misfit(model.state_dict(), state):
        raise EnsembleError(
            f"{file.name} does not fit {model_class.__name__}: {problem}; "
            "use the class that was trained."
        )
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)

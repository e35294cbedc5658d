"""The tensors of a bundle; their sizes are checked before memory is used."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from rayfold.errors import BundleError, ModelError
from rayfold.isolation import own_generators
from rayfold.model_construction import build_model
from rayfold.storage import open_to_readers
from rayfold.training.lazy_modules import blank_rows, materialise
from rayfold.training.weights_file import save_weights, tensors_of

_SCORES = "scores"

_SHARED = 4
"""Parameters that a model may register for each tensor in its file, as shared ones repeat."""


def save_state(model: nn.Module, file: Path) -> None:
    """Write a model's state dict, or a combination's."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_weights(model.state_dict(), file)
    open_to_readers(file)


def save_scores(scores: NDArray[np.float64], file: Path) -> None:
    """Write scores of nonconformity, shape ``(rows, m)``."""
    save_arrays({_SCORES: np.ascontiguousarray(scores)}, file)
    open_to_readers(file)


def load_scores(file: Path, num_columns: int) -> NDArray[np.float64]:
    """Read what ``save_scores`` has written.

    Raises:
        BundleError: If the file is not safetensors, or holds something else.
    """
    try:
        arrays = load_arrays(file)
    except SafetensorError as error:
        raise BundleError(f"{file} cannot be used: {error}; export the bundle again.") from error
    scores = arrays.get(_SCORES)
    if (
        scores is None
        or scores.dtype != np.float64
        or scores.shape[1:] != (num_columns,)
        or not np.isfinite(scores).all()
    ):
        raise BundleError(f"{file} does not fit the manifest; export the bundle again.")
    return np.asarray(scores)


def check_declared(
    model_class: type[nn.Module],
    arguments: Mapping[str, Any],
    file: Path,
    *,
    input_shapes: Sequence[Sequence[int]],
) -> None:
    """Refuse arguments that build a larger model than the file holds, before memory is used.

    The model is built on PyTorch's device ``meta``, which has shapes but no numbers. A class that
    cannot be built there is not checked. Only the header of the file is read.

    Raises:
        BundleError: If the model has more or larger tensors than the file.
    """
    try:
        with safe_open(file, framework="pt") as stored:
            shapes = {name: list(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
    except SafetensorError:
        return  # reading it says what is wrong
    allowed = _SHARED * (len(shapes) + 1)
    registered = 0

    def count(*_: object) -> None:
        nonlocal registered
        registered += 1
        if registered > allowed:
            raise _TooLargeError

    hook = register_module_parameter_registration_hook(count)
    try:
        with own_generators(0), torch.device("meta"):
            model = build_model(model_class, arguments)
            materialise(model, blank_rows(input_shapes, "meta"))
            state = tensors_of(model.state_dict())
    except _TooLargeError:
        raise BundleError(
            f"the manifest's arguments build a model of over {allowed} tensors, but {file.name} "
            f"holds {len(shapes)}; export the bundle again."
        ) from None
    except ModelError:
        return  # not on this device, or not at all: building it says what is wrong
    finally:
        hook.remove()
    total = sum(torch.Size(shape).numel() for shape in shapes.values())
    if (declared := sum(tensor.numel() for tensor in state.values())) > max(2 * total, 2**16):
        raise BundleError(
            f"the manifest's arguments build a model of {declared} numbers, but {file.name} "
            f"holds {total}; export the bundle again."
        )


class _TooLargeError(BaseException):
    """Not an Exception, which would count as an error of the model."""

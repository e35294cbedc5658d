"""Lazy modules (``nn.LazyLinear``), whose parameters get their shapes from the first rows."""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rayfold.errors import ModelError
from rayfold.isolation import isolated


def materialise(model: nn.Module, features: Sequence[Tensor]) -> None:
    """Give lazy modules their shapes by one pass over a few rows, in evaluation mode.

    A model without lazy modules does not change, and neither do generators of random numbers.

    Args:
        model: Changed in place.
        features: The rows, one tensor for each of its inputs.

    Raises:
        ModelError: If ``forward`` fails, or does not use a lazy module.
    """
    if not _lazy_names(model):
        return
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), isolated():
            model(*features)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ModelError(
            f"{type(model).__name__} has lazy modules, and its forward fails on the first rows: "
            f"{reason}."
        ) from error
    for module, training in modes:
        module.training = training
    if names := _lazy_names(model):
        raise ModelError(
            f"{type(model).__name__}: {names[0]!r} is lazy, but forward does not use it, so that "
            "it never gets a shape; remove it, or give it its sizes."
        )


def blank_rows(
    input_shapes: Sequence[Sequence[int]], device: torch.device | str = "cpu"
) -> tuple[Tensor, ...]:
    """Return two rows of zeros for each input; only their shapes matter."""
    return tuple(torch.zeros((2, *shape), device=device) for shape in input_shapes)


def _lazy_names(model: nn.Module) -> list[str]:
    tensors = chain(model.named_parameters(), model.named_buffers())
    return [name for name, tensor in tensors if is_lazy(tensor)]

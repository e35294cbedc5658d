"""A model's state in a safetensors file: tensors, and plain extra state as JSON beside them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from rayfold.errors import ModelError

_EXTRA = "extra_state"
"""Key in the file's metadata for results of ``get_extra_state`` that are not tensors."""


def save_weights(state: Mapping[str, Any], file: Path) -> None:
    """Write a model's state dict; tensors that share memory are written once each."""
    tensors, extra = {}, {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            tensors[name] = value.detach().cpu().contiguous().clone()
        else:
            extra[name] = value
    save_file(tensors, file, {_EXTRA: json.dumps(extra)} if extra else None)


def load_weights(file: Path) -> dict[str, Any]:
    """Read a state dict that ``save_weights`` has written.

    Raises:
        SafetensorError: If the file is not safetensors.
        ValueError: If its extra state is not JSON.
    """
    state: dict[str, Any] = load_file(file)
    with safe_open(file, framework="pt") as stored:
        extra = json.loads((stored.metadata() or {}).get(_EXTRA, "{}"))
    if not isinstance(extra, dict):
        raise ValueError(f"the extra state of {file.name} is no mapping")
    return {**state, **extra}


def tensors_of(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a state dict, without extra state of other kinds."""
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def check_trainable(model: nn.Module) -> None:
    """Check that a model can be trained, saved and loaded again.

    Raises:
        ModelError: If no parameter is trained, or if a tensor or extra state cannot be saved; the
            message names it.
    """
    who = type(model).__name__
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ModelError(
            f"{who} has no parameter to train; give it layers as attributes or in an "
            "nn.ModuleList (a plain list hides them), and let one require a gradient."
        )
    for name, value in model.state_dict().items():
        reason = _unstorable(value) if isinstance(value, Tensor) else _not_plain(value)
        if reason:
            raise ModelError(f"{who}: {name!r} cannot be saved: {reason}.")


def check_has_values(model: nn.Module) -> None:
    """Check that no parameter or buffer is on the device ``meta``.

    Raises:
        ModelError: If one is; the message names it.
    """
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.device.type == "meta":
            raise ModelError(
                f"{type(model).__name__}: {name!r} is on the device meta and has no values; "
                "make it on the CPU."
            )


def _unstorable(tensor: Tensor) -> str | None:
    if tensor.layout != torch.strided:
        return "it is sparse; register its dense form, or its indices and values"
    strides = zip(tensor.shape, tensor.stride(), strict=True)
    if any(size > 1 and stride == 0 for size, stride in strides):
        return "its elements share memory (expand); register a clone() of it"
    try:
        save({"tensor": torch.zeros(1, dtype=tensor.dtype)})
    except (KeyError, ValueError, RuntimeError):
        return f"no file holds its type {tensor.dtype}; use another, such as torch.complex64"
    return None


def _not_plain(value: object) -> str | None:
    try:
        same = json.loads(json.dumps(value)) == _as_json(value)
    except (TypeError, ValueError):
        same = False
    if same:
        return None
    return (
        f"get_extra_state returns a {type(value).__name__} that JSON cannot hold; return numbers, "
        "texts, lists and mappings with texts as keys, or a tensor"
    )


def _as_json(value: Any) -> Any:
    """Return a value with tuples as lists."""
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    return value

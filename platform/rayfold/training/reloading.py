"""Whether a model predicts from its state dict alone, since an ensemble has nothing else."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

TOLERANCE = 1e-3
"""Largest difference of outputs that may be rounding, relative to the largest output."""

_MAX_NAMED = 3
_MAX_DEPTH = 4
_OWN = frozenset(vars(nn.Module()))  # of PyTorch itself: parameters, buffers, hooks


def misfit(model: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Say how a state dict differs from a model's in names and shapes; empty if it does not.

    Args:
        model: State dict of a new model.
        given: The state dict to load.
    """
    if missing := [name for name in model if name not in given]:
        return f"it lacks {missing[0]!r}"
    if extra := [name for name in given if name not in model]:
        return f"it has {extra[0]!r}, which the model has not"
    for name, tensor in model.items():
        if isinstance(tensor, Tensor) is not isinstance(given[name], Tensor):
            return f"{name!r} is a tensor in one of them only"
        if isinstance(tensor, Tensor) and tensor.shape != given[name].shape:
            return f"{name!r} has shape {tuple(given[name].shape)}, expected {tuple(tensor.shape)}"
    return ""


def unlike(trained: Tensor, reloaded: Tensor) -> bool:
    """Tell whether two outputs of the same shape differ by more than rounding."""
    if not trained.numel():
        return False
    largest = float(trained.abs().max())
    return not float((trained - reloaded).abs().max()) <= TOLERANCE * largest


def kept_outside(trained: nn.Module, reloaded: nn.Module) -> list[str]:
    """Name the differences between two models with equal state dicts, and how to avoid them.

    Args:
        trained: The model that was trained.
        reloaded: A new model with the same state dict.

    Returns:
        For each differing attribute its name, and in brackets what to do.
    """
    others = dict(reloaded.named_modules())
    found = []
    for path, module in trained.named_modules():
        other = others.get(path)
        if other is None:
            continue
        prefix = f"{path}." if path else ""
        for name in module._non_persistent_buffers_set:
            if _differ(module._buffers.get(name), other._buffers.get(name)):
                found.append(f"{prefix}{name} (a buffer with persistent=False: leave that out)")
        for name, value in vars(module).items():
            if name not in _OWN and _differ(value, vars(other).get(name)):
                found.append(f"{prefix}{name} ({_remedy(value)})")
    return found


def told(names: list[str]) -> str:
    """Return the result of ``kept_outside`` as the end of a message."""
    if not names:
        return (
            "it may be in an attribute, a global variable or a generator of its own; keep it in "
            "parameters and buffers, and draw from the generators of torch, numpy or random"
        )
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"it is in {', '.join(names[:_MAX_NAMED])}{more}"


def _remedy(value: object) -> str:
    inside = value
    while isinstance(inside, list | tuple | dict) and inside:
        inside = next(iter(inside.values() if isinstance(inside, dict) else inside))
    if isinstance(inside, nn.Module):
        kind = "ModuleDict" if isinstance(value, dict) else "ModuleList"
        return f"modules in a plain {type(value).__name__}: use nn.{kind}"
    if isinstance(inside, nn.Parameter):
        kind = "ParameterDict" if isinstance(value, dict) else "ParameterList"
        return f"parameters in a plain {type(value).__name__}: use nn.{kind}"
    return "a plain attribute: use register_buffer"


def _differ(first: object, second: object) -> bool:
    values, others = list(_tensors(first)), list(_tensors(second))
    return len(values) != len(others) or any(
        a.shape != b.shape or not torch.equal(a, b) for a, b in zip(values, others, strict=True)
    )


def _tensors(value: object, depth: int = 0) -> Iterator[Tensor]:
    """Yield the numbers in a value, as tensors on the CPU."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, Tensor):
        yield value.detach().cpu()
    elif isinstance(value, nn.Module):
        for tensor in value.state_dict().values():
            yield from _tensors(tensor, depth + 1)
    elif isinstance(value, torch.Generator):
        yield value.get_state()
    elif isinstance(value, bool | int | float):
        yield torch.tensor(float(value), dtype=torch.float64)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        yield torch.from_numpy(value.astype(np.float64))
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item, depth + 1)

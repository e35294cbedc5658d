"""What a user's code may change of the process, put back after each call into it.

A model runs in processes that other models, folds and rows share. Whatever its code sets there
(grad mode, default type and device, threads, generators ...) and whatever it writes to its own
state while it predicts is undone when the call returns.
"""

import random
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch._C._dynamo.guards import GlobalStateGuard
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

_TINY = 2.0**-1074
"""The smallest number above 0; it is 0 in a product where such numbers are flushed."""

_Settings: TypeAlias = tuple[Any, ...]
_Place: TypeAlias = MutableMapping[str, Any]


class Guard:
    """Knows PyTorch's process-wide settings as they are now, and puts them back.

    These are: grad mode, default type, default device, number of threads, deterministic
    algorithms, precision of matrix products, cuDNN's choices, anomaly detection, autocast, modes
    of functions and dispatch, hooks of all modules, and whether numbers below the smallest normal
    one are 0. Generators of random numbers are left alone: see ``own_generators``.
    """

    __slots__ = ("_before", "_glance", "_hooks", "_modes", "_nesting", "_state")

    def __init__(self) -> None:
        self._modes = _mode_stacks()
        self._hooks = [{**hooks} for hooks in _HOOKS]
        self._nesting = _autocast_nesting()
        self._before = _settings()
        self._state = GlobalStateGuard()
        glance = _glance()
        self._glance = None if any(glance[:3]) else glance  # None: always look closely

    def restore(self) -> None:
        """Put back what has changed, which takes a microsecond where nothing has."""
        if self._state.check() and _glance() == self._glance:
            return
        if _mode_stacks() != self._modes:
            _leave_modes(self._modes)
        for hooks, before in zip(_HOOKS, self._hooks, strict=True):
            if hooks != before:
                hooks.clear()
                hooks.update(before)
        while _autocast_nesting() > self._nesting:
            torch.autocast_decrement_nesting()
            torch.clear_autocast_cache()
        after = _settings()
        if after != self._before:
            for setting, old, new in zip(_SETTERS, self._before, after, strict=True):
                if old != new:
                    setting(old)


@contextmanager
def isolated() -> Iterator[None]:
    """Put PyTorch's process-wide settings back when the block ends, also by an exception."""
    guard = Guard()
    try:
        yield
    finally:
        guard.restore()


def _glance() -> _Settings:
    """Return what PyTorch's ``GlobalStateGuard`` does not look at; hooks and modes come first."""
    return (
        any(_HOOKS),
        torch._C._len_torch_function_stack(),
        torch._C._len_torch_dispatch_stack(),
        _autocast_nesting(),
        torch.get_autocast_dtype("cpu"),
        torch.get_autocast_dtype("cuda"),
        torch._C._get_float32_matmul_precision(),
        torch._C._get_cudnn_benchmark(),
        torch._C._get_cudnn_deterministic(),
        torch.is_anomaly_enabled(),
        _TINY * 1.0 == 0.0,
    )


def _settings() -> _Settings:
    return (
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        # a default device is a mode on this stack; to ask a tensor takes most of a block's time
        torch.empty(0).device if torch._C._len_torch_function_stack() else _CPU,
        torch.get_num_threads(),
        (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        torch.get_float32_matmul_precision(),
        (torch._C._get_cudnn_benchmark(), torch._C._get_cudnn_deterministic()),
        torch.is_anomaly_enabled(),
        _TINY * 1.0 == 0.0,
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
        torch.get_autocast_dtype("cpu"),
        torch.get_autocast_dtype("cuda"),
        torch.is_autocast_cache_enabled(),
    )


_CPU = torch.device("cpu")


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _set_deterministic(flags: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(flags[0], warn_only=flags[1])


def _set_cudnn(flags: tuple[bool, bool]) -> None:
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = flags


_SETTERS: tuple[Callable[[Any], Any], ...] = (
    torch.set_grad_enabled,
    torch.set_default_dtype,
    _set_device,
    torch.set_num_threads,
    _set_deterministic,
    torch.set_float32_matmul_precision,
    _set_cudnn,
    torch.autograd.set_detect_anomaly,
    torch.set_flush_denormal,
    lambda enabled: torch.set_autocast_enabled("cpu", enabled),
    lambda enabled: torch.set_autocast_enabled("cuda", enabled),
    lambda dtype: torch.set_autocast_dtype("cpu", dtype),
    lambda dtype: torch.set_autocast_dtype("cuda", dtype),
    torch.set_autocast_cache_enabled,
)

_HOOKS: tuple[dict[int, Any], ...] = tuple(
    hooks
    for name, hooks in vars(nn.modules.module).items()
    if name.startswith("_global_") and isinstance(hooks, dict)
)
"""PyTorch's hooks of all modules, by kind."""


def _mode_stacks() -> tuple[list[Any], list[Any]]:
    if not torch._C._len_torch_function_stack() and not torch._C._len_torch_dispatch_stack():
        return [], []  # as nearly always, and quickly
    return _get_current_function_mode_stack(), _get_current_dispatch_mode_stack()


def _leave_modes(before: tuple[list[Any], list[Any]]) -> None:
    """Take what was entered and not left off the stacks; default devices are no such modes."""
    functions = [torch._C._pop_torch_function_stack() for _ in _get_current_function_mode_stack()]
    for mode in reversed(functions):
        if isinstance(mode, DeviceContext) or any(mode is known for known in before[0]):
            torch._C._push_on_torch_function_stack(mode)
    while torch._C._len_torch_dispatch_stack() > len(before[1]):
        torch._C._pop_torch_dispatch_stack(None)


def _autocast_nesting() -> int:
    torch.autocast_increment_nesting()
    return torch.autocast_decrement_nesting()


def seed_generators(seed: int, device: torch.device | None = None) -> None:
    """Seed the process's generators of PyTorch, NumPy (the global one) and Python.

    Args:
        seed: In [0, 2**32).
        device: A GPU whose generator is seeded as well.
    """
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    if device is not None and device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def generator_states(device: torch.device | None = None) -> dict[str, Tensor]:
    """Return the states of these generators by name, each a tensor of one axis on the CPU."""
    numpy_state: Any = np.random.get_state(legacy=True)
    _, keys, place, has_normal, normal = numpy_state
    version, integers, next_normal = random.getstate()
    states = {
        "torch": torch.get_rng_state(),
        "numpy": torch.tensor([*keys.tolist(), place, has_normal, normal], dtype=torch.float64),
        "python": torch.tensor(
            [version, *integers, next_normal is not None, next_normal or 0.0],
            dtype=torch.float64,
        ),
    }
    if device is not None and device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generator_states(states: dict[str, Tensor], device: torch.device | None = None) -> None:
    """Put back what ``generator_states`` has returned; generators without a state stay."""
    if (state := states.get("torch")) is not None:
        torch.set_rng_state(state)
    if (state := states.get("numpy")) is not None:
        *keys, place, has_normal, normal = state.tolist()
        legacy = np.array(keys, np.uint32), int(place), int(has_normal), normal
        np.random.set_state(("MT19937", *legacy))
    if (state := states.get("python")) is not None:
        version, *integers, has_next, next_normal = state.tolist()
        following = next_normal if has_next else None
        random.setstate((int(version), tuple(map(int, integers)), following))
    if (state := states.get("cuda")) is not None and device is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state, device)


@contextmanager
def own_generators(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Let the block draw as it likes: the process's generators go on afterwards as before it.

    Args:
        seed: What they are seeded with in the block.
        device: A GPU whose generator is one of them.
    """
    is_cuda = device is not None and device.type == "cuda"
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    cuda = torch.cuda.get_rng_state(device) if is_cuda else None  # type: ignore[arg-type]
    try:
        seed_generators(seed, device)
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, device)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Changed:
    """What of a model has changed while it predicted."""

    buffers: bool
    parameters: bool


class Snapshot:
    """A model's buffers, and its parameters if wanted, as they are before it predicts.

    Values are compared, and not only ``Tensor._version``, which writes through ``.data`` or NumPy
    leave as it is.

    Args:
        model: The model.
        parameters: Whether to keep its parameters as well, which takes their memory again.
    """

    def __init__(self, model: nn.Module, *, parameters: bool) -> None:
        modules = [*model.modules()]
        self._buffers = _copies(module._buffers for module in modules)
        self._parameters = _copies(module._parameters for module in modules if parameters)

    def restore(self) -> Changed:
        """Put back what has changed, and tell what had."""
        return Changed(buffers=_restore(self._buffers), parameters=_restore(self._parameters))


def _copies(places: Iterable[_Place]) -> list[tuple[_Place, str, Tensor, Tensor]]:
    return [
        (place, name, tensor, tensor.detach().clone())
        for place in places
        for name, tensor in place.items()
        if tensor is not None
    ]


def _restore(kept: list[tuple[_Place, str, Tensor, Tensor]]) -> bool:
    changed = False
    with torch.no_grad():
        for place, name, tensor, copy in kept:
            if isinstance(place, dict) and place.get(name) is not tensor:  # TorchScript's are none
                place[name] = tensor
                changed = True
            if not torch.equal(tensor, copy):
                tensor.detach().copy_(copy)
                changed = True
    return changed

"""What a user's code may change of the whole process, and of PyTorch's and NumPy's own code.

``isolation`` puts back after each call what a call may change of PyTorch's settings. Here is what
is rare, and takes longer to look at: it is put back when a fold begins, and after each job.
"""

import gc
import logging
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

logger = logging.getLogger(__name__)

_PYTORCH = Path(torch.__file__).parent

_Place: TypeAlias = type | types.ModuleType
_Original: TypeAlias = tuple[_Place, dict[str, Any], int]


@contextmanager
def guarded_process() -> Iterator[list[str]]:
    """Put the process back when the block ends: its settings, and code of PyTorch and NumPy.

    Settings are NumPy's handling of errors, filters of warnings, environment variables, the
    current folder, the mask of new files, garbage collection, ``logging.disable``, the limit of
    recursion and ``sys.path``. Code is what the classes of ``torch.nn`` and ``torch.Tensor`` and
    the functions of ``torch``, ``torch.nn.functional`` and ``numpy`` are made of; that it was
    replaced is told in a warning. Hardly half a millisecond.

    Yields:
        A list that holds the names of replaced code once the block has ended.
    """
    replaced: list[str] = []
    originals = _originals()
    before = [read() for read, _ in _SETTINGS]
    try:
        yield replaced
    finally:
        for (read, write), old in zip(_SETTINGS, before, strict=True):
            if read() != old:
                write(old)
        replaced += _restore_code(originals)
        if replaced:
            more = f" and {len(replaced) - 3} more" if len(replaced) > 3 else ""
            logger.warning(
                "A model's code has replaced %s%s for the whole process; this is put back, so "
                "that it reaches no other model. Write a subclass instead.",
                ", ".join(replaced[:3]),
                more,
            )


@cache
def _originals() -> tuple[_Original, ...]:
    """Return what the classes and modules hold when a process builds its first model."""
    classes = {
        value
        for module in (nn, nn.modules.module, nn.parameter)
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__.startswith("torch.nn")
    }
    places: tuple[_Place, ...] = (
        *sorted(classes, key=lambda kind: kind.__qualname__),
        torch.Tensor,
        torch,
        nn,
        nn.functional,
        nn.init,
        np,
        np.random,
        np.linalg,
    )
    return tuple((place, _code_of(place), len(vars(place))) for place in places)


def _code_of(place: _Place) -> dict[str, Any]:
    """Return what nobody but a patch replaces."""
    return {
        name: value
        for name, value in vars(place).items()
        if callable(value) or isinstance(value, property | classmethod | staticmethod)
    }


def _restore_code(originals: tuple[_Original, ...]) -> list[str]:
    """Put replaced, removed and added code back; return what it was, by its full name.

    What a class gains may hide what it inherits; what a module gains is imported late by itself.
    """
    found = []
    for place, kept, size in originals:
        now = vars(place)
        if kept.items() <= now.items() and (len(now) == size or not isinstance(place, type)):
            continue  # as nearly always, and quickly
        kept.update({name: now[name] for name in kept if _is_pytorchs(place, now.get(name))})
        changed = [name for name, value in kept.items() if now.get(name) is not value]
        added = [name for name, value in now.items() if name not in kept and _hides(place, value)]
        for name in changed:
            setattr(place, name, kept[name])
        for name in added:
            delattr(place, name)
        found += [f"{place.__name__}.{name}" for name in (*changed, *added)]
    return found


def _is_pytorchs(place: _Place, value: object) -> bool:
    """Tell whether a function of a module comes from PyTorch's files: it wraps its own late."""
    code = getattr(value, "__code__", None)
    return (
        isinstance(place, types.ModuleType)
        and code is not None
        and Path(code.co_filename).is_relative_to(_PYTORCH)
    )


def _hides(place: _Place, value: object) -> bool:
    return isinstance(place, type) and isinstance(value, types.FunctionType)


def _file_mask() -> int | None:
    """Return the mask of new files; setting it to read it would reach other threads."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return None


def _set_file_mask(mask: int | None) -> None:
    if mask is not None:
        os.umask(mask)


def _folder() -> str | None:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return None


def _set_folder(folder: str | None) -> None:
    if folder is not None:
        with suppress(OSError):  # it may have been removed
            os.chdir(folder)


def _set_environment(before: Mapping[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _set_filters(before: list[Any]) -> None:
    warnings.resetwarnings()  # which also forgets what was decided by the others
    warnings.filters[:] = before  # type: ignore[index]


def _set_collection(state: tuple[bool, tuple[int, int, int]]) -> None:
    (gc.enable if state[0] else gc.disable)()
    gc.set_threshold(*state[1])


def _set_path(before: list[str]) -> None:
    sys.path[:] = before


_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (np.geterr, lambda old: np.seterr(**old)),
    (np.geterrcall, np.seterrcall),
    (lambda: [*warnings.filters], _set_filters),
    (lambda: dict(os.environ), _set_environment),
    (_folder, _set_folder),
    (_file_mask, _set_file_mask),
    (lambda: (gc.isenabled(), gc.get_threshold()), _set_collection),
    (lambda: logging.root.manager.disable, logging.disable),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (lambda: [*sys.path], _set_path),
)

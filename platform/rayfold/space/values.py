"""Allowed values of hyperparameters, and the conversion of given values.

A searched value is a bool, an int, a float or a text. Values of different types differ: ``True``,
``1`` and ``1.0`` are three values. A fixed value may also be None, or a list of such values. All
other values are converted or refused before anything starts. So a model gets the same values when
a study begins and when it resumes.
"""

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from rayfold.errors import SpaceError
from rayfold.results import Value


def plain_value(value: object) -> Value:
    """Return ``value`` as a bool, int, float or text of Python.

    NumPy scalars, arrays and tensors of one number without axes, paths, and members of ``IntEnum``
    and ``StrEnum`` are converted.

    Raises:
        SpaceError: If it cannot be converted, or is not finite.
    """
    plain = _converted(value)
    if not isinstance(plain, bool | int | float | str) or type(plain) not in _TYPES:
        raise SpaceError(
            f"a value must be a bool, int, float or text, got {show(value)}{_remedy(value)}."
        )
    if isinstance(plain, float) and not math.isfinite(plain):
        raise SpaceError(f"a value must be finite, got {show(value)}.")
    if isinstance(plain, str) and not _is_text(plain):
        raise SpaceError(f"a text must be Unicode without NUL, got {show(value)}.")
    return plain


def plain_parameters(parameters: Mapping[str, object]) -> dict[str, Any]:
    """Return fixed hyperparameters, each as plain values.

    Lists, tuples, ranges, arrays and tensors become lists, nested if they have several axes.

    Raises:
        SpaceError: If a value cannot be converted; the message names the parameter.
    """
    plain = {}
    for name, value in parameters.items():
        if not isinstance(name, str):
            raise SpaceError(f"names of parameters are texts, got {show(name)}.")
        try:
            plain[name] = plain_or_list(value)
        except SpaceError as error:
            raise SpaceError(f"{name}: {error}") from None
    return plain


def plain_config(config: Mapping[str, object]) -> dict[str, Value]:
    """Return a configuration with plain values.

    Raises:
        SpaceError: If a value cannot be converted; the message names the parameter.
    """
    plain = {}
    for name, value in config.items():
        try:
            plain[name] = plain_value(value)
        except SpaceError as error:
            raise SpaceError(f"{name}: {error}") from None
    return plain


def plain_or_list(value: object) -> Any:
    """Return a fixed value as a plain one, which may be None or a list.

    Raises:
        SpaceError: If it cannot be converted.
    """
    if value is None:
        return None
    converted = _converted(value)
    if isinstance(converted, list | tuple | range):
        return [plain_or_list(entry) for entry in converted]
    return plain_value(value)


def _converted(value: object) -> object:
    """Return a value of NumPy, PyTorch or the standard library as a plain value, if it is one."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, enum.Enum) and isinstance(value, int | str):
        return value.value
    if hasattr(value, "tolist") and hasattr(value, "ndim"):  # an array or a tensor
        return value.tolist()
    return value


def _remedy(value: object) -> str:
    if isinstance(value, Mapping):
        return "; write its name with dots: optimizer.name, not a mapping in a mapping"
    if isinstance(value, set | frozenset):
        return "; a set has no order: pass a sorted list"
    if isinstance(value, enum.Enum):
        return "; pass its value or name"
    if isinstance(value, list | tuple | range | np.ndarray):
        return ""
    if hasattr(value, "__float__") and not isinstance(value, type):
        return "; pass float(...) of it"
    return "; pass a name, and let the model look it up"


def _is_text(text: str) -> bool:
    """Tell whether a text can be written to the journal, YAML and MLflow."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def plain_values(values: Iterable[object]) -> tuple[Value, ...]:
    """Return one or more different values as plain scalars.

    Raises:
        SpaceError: If there is none, one is given twice, or one is not a plain scalar.
    """
    plain: list[Value] = []
    for value in map(plain_value, values):
        if is_among(value, plain):
            raise SpaceError(f"values must differ, got {show(value)} twice; keep one.")
        plain.append(value)
    if not plain:
        raise SpaceError("at least one value is needed, got none.")
    return tuple(plain)


def is_among(value: object, values: Iterable[Value]) -> bool:
    """Tell whether one of ``values`` has the type of ``value`` and equals it."""
    return any(type(value) is type(other) and value == other for other in values)


def typed(values: Iterable[Value]) -> tuple[tuple[str, Value], ...]:
    """Return a key that is equal for equal values of equal types only."""
    return tuple((type(value).__name__, value) for value in values)


def show(value: object) -> str:
    """Return a value as errors show it, in at most 60 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        text = f"an integer of {value.bit_length()} bits" if isinstance(value, int) else "?"
    return text if len(text) <= 60 else f"{text[:57]}..."


def show_all(values: Sequence[Value]) -> str:
    """Return several values as errors show them, at most ten."""
    shown = [show(value) for value in values[:10]]
    return ", ".join([*shown, "..."] if len(values) > 10 else shown)


_TYPES = (bool, int, float, str)

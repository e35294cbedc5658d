"""What a hyperparameter's value may be: a bool, an int, a float or a text.

Values are told apart by type as well: ``True``, ``1`` and ``1.0`` are three values.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from rayfold.errors import SpaceError
from rayfold.results import Value


def plain_value(value: object) -> Value:
    """Return ``value`` as a plain Python scalar; NumPy scalars are converted.

    Raises:
        SpaceError: If it is no bool, int, float or text, or not finite.
    """
    plain = value.item() if isinstance(value, np.generic) else value
    if not isinstance(plain, bool | int | float | str) or type(plain) not in _TYPES:
        raise SpaceError(f"a value must be a bool, int, float or text, got {show(value)}.")
    if isinstance(plain, float) and not math.isfinite(plain):
        raise SpaceError(f"a value must be finite, got {show(value)}.")
    return plain


def plain_values(values: Iterable[object]) -> tuple[Value, ...]:
    """Return the values as plain scalars, checked to be at least one and all different.

    Raises:
        SpaceError: If there is none, one is given twice, or one is no plain scalar.
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
    """Return a value as an error shows it, in 60 characters at most."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        text = f"an integer of {value.bit_length()} bits" if isinstance(value, int) else "?"
    return text if len(text) <= 60 else f"{text[:57]}..."


def show_all(values: Sequence[Value]) -> str:
    """Return several values as an error shows them, the first ten of them."""
    shown = [show(value) for value in values[:10]]
    return ", ".join([*shown, "..."] if len(values) > 10 else shown)


_TYPES = (bool, int, float, str)

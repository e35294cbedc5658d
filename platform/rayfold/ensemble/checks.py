"""Checks of arguments; each returns the argument or raises ``EnsembleError`` with its name."""

from numbers import Real
from typing import TypeGuard

from rayfold.errors import EnsembleError
from rayfold.results import MAX_COUNT
from rayfold.space.values import show


def flag(name: str, value: object) -> bool:
    """Return an argument that is true or false."""
    if not isinstance(value, bool):
        raise EnsembleError(f"{name} must be True or False, got {value!r}.")
    return value


def count(name: str, value: object, *, at_least: int, at_most: int = MAX_COUNT) -> int:
    """Return an argument that is a whole number."""
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise EnsembleError(f"{name} must be an integer, at least {at_least}, got {show(value)}.")
    if value > at_most:
        raise EnsembleError(f"{name} must be at most {at_most}, got {show(value)}.")
    return value


def share(name: str, value: object) -> float:
    """Return an argument in (0, 1]."""
    if not _is_number(value) or not 0 < value <= 1:
        raise EnsembleError(f"{name} must be in (0, 1], got {value!r}.")
    return value


def inner_share(name: str, value: object) -> float:
    """Return an argument in (0, 1)."""
    if not _is_number(value) or not 0 < value < 1:
        raise EnsembleError(f"{name} must be in (0, 1), got {value!r}.")
    return value


def strength(name: str, value: object, *, zero: bool = True) -> float:
    """Return an argument that is a finite number of at least 0, or above 0 without ``zero``."""
    if not _is_number(value) or not (0 < value < float("inf") or (zero and value == 0)):
        least = "at least" if zero else "above"
        raise EnsembleError(f"{name} must be {least} 0 and finite, got {value!r}.")
    return value


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool)

"""Domains: the values of one hyperparameter, and their places in [0, 1].

Searchers work on the unit interval. Every domain maps it onto its values: a uniform draw gives
equally likely values, or equally likely orders of magnitude with ``log=True``.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayfold.errors import SpaceError, did_you_mean
from rayfold.results import Value
from rayfold.space.conditions import Condition, When, read_conditions, write_conditions
from rayfold.space.values import is_among, plain_value, plain_values, show, show_all, typed

MAX_INT = 2**40
"""Largest bound of an ``Int``; beyond it, neighbours have the same place in [0, 1]."""


class Domain(ABC):
    """The values that one hyperparameter may take.

    Attributes:
        when: Conditions that must all hold for the parameter to apply; empty: it always applies.
    """

    when: tuple[Condition, ...]

    @abstractmethod
    def from_unit(self, u: float) -> Value:
        """Return the value at ``u`` in [0, 1], both ends included.

        Raises:
            SpaceError: If ``u`` lies outside, or is NaN.
        """

    @abstractmethod
    def to_unit(self, value: Value) -> float:
        """Return a place in [0, 1] that ``from_unit`` maps to ``value``.

        For ``Int`` and ``Choice`` it is the centre of the value's share, and ``from_unit`` returns
        exactly the value. For ``Float`` it returns the value up to rounding.

        Raises:
            SpaceError: If ``value`` is not in the domain.
        """

    @property
    @abstractmethod
    def extremes(self) -> tuple[Value, ...]:
        """The lowest and the highest value, or all values of a domain without order."""

    @property
    @abstractmethod
    def allowed(self) -> str:
        """The allowed values, for errors: ``a number from 0.0 to 0.6``."""

    @abstractmethod
    def check(self, value: object) -> str | None:
        """Return what is wrong with ``value`` ("must be ..., got ..."), or None."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the domain as plain values, for YAML and JSON."""

    def _require(self, value: object) -> None:
        problem = self.check(value)
        if problem is not None:
            raise SpaceError(f"the value {problem}.")

    def _keep(self, **fields: object) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, init=False)
class Float(Domain):
    """Real numbers from ``low`` to ``high``, both included.

    Args:
        low: Lower bound.
        high: Upper bound, above ``low``.
        log: Spread evenly over orders of magnitude; ``low`` must then be above 0.
        when: The parameter applies only if its parents have these values:
            ``{"optimizer.name": "sgd"}`` or ``{"optimizer.name": ["sgd", "nesterov"]}``. With
            several parents, all must have one of their values.

    Raises:
        SpaceError: If a bound is not a finite number, or they are in the wrong order.

    Example::

        Float(1e-4, 1e-1, log=True)
    """

    low: float
    high: float
    log: bool
    when: tuple[Condition, ...]

    def __init__(
        self, low: float, high: float, *, log: bool = False, when: When | None = None
    ) -> None:
        low, high = _real("low", low), _real("high", high)
        _check_range("Float", low, high, log, "a low above 0")
        if math.isinf(high - low):
            raise SpaceError(f"Float: high - low must be finite, got {low} and {high}.")
        if log and math.log(low) == math.log(high):
            raise SpaceError(f"Float: log=True needs a wider range, got {low} and {high}.")
        self._keep(low=low, high=high, log=log, when=read_conditions(when))

    def from_unit(self, u: float) -> float:
        """Return the number at ``u``; 0 gives exactly ``low`` and 1 exactly ``high``."""
        u = _unit(u)
        if u in (0.0, 1.0):
            return self.high if u else self.low
        if self.log:
            start = math.log(self.low)
            value = math.exp(start + u * (math.log(self.high) - start))
        else:
            value = self.low + u * (self.high - self.low)
        return min(max(value, self.low), self.high)

    def to_unit(self, value: Value) -> float:
        """Return the place of ``value`` between ``low`` and ``high``."""
        self._require(value)
        number = float(value)
        if self.log:
            start = math.log(self.low)
            return (math.log(number) - start) / (math.log(self.high) - start)
        return (number - self.low) / (self.high - self.low)

    @property
    def extremes(self) -> tuple[float, float]:
        """``low`` and ``high``."""
        return self.low, self.high

    @property
    def allowed(self) -> str:
        """``a number from 0.0 to 0.6``."""
        return f"a number from {self.low} to {self.high}"

    def check(self, value: object) -> str | None:
        """Return what is wrong with ``value``; integers are allowed, bools are not."""
        if (type(value) is float or type(value) is int) and self.low <= value <= self.high:
            return None
        return f"must be {self.allowed}, got {show(value)}"

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"float": [low, high], "log": True, "when": {...}}``."""
        return {"float": [self.low, self.high]} | _options(self.log, self.when)


@dataclass(frozen=True, init=False)
class Int(Domain):
    """Whole numbers from ``low`` to ``high``, both included.

    Every value has an equal share of [0, 1]. With ``log=True``, value v has the share from log(v)
    to log(v + 1) of the range from log(low) to log(high + 1).

    Args:
        low: Lower bound.
        high: Upper bound, above ``low``.
        log: Spread evenly over orders of magnitude; ``low`` must then be at least 1.
        when: As for ``Float``.

    Raises:
        SpaceError: If a bound is not a whole number, is beyond ``MAX_INT``, or they are in the
            wrong order.

    Example::

        Int(8, 64, log=True)
    """

    low: int
    high: int
    log: bool
    when: tuple[Condition, ...]

    def __init__(
        self, low: int, high: int, *, log: bool = False, when: When | None = None
    ) -> None:
        low, high = _whole("low", low), _whole("high", high)
        _check_range("Int", low, high, log, "a low of at least 1")
        self._keep(low=low, high=high, log=log, when=read_conditions(when))

    def from_unit(self, u: float) -> int:
        """Return the whole number whose share holds ``u``."""
        u = _unit(u)
        if self.log:
            start = math.log(self.low)
            value = math.floor(math.exp(start + u * (math.log(self.high + 1) - start)))
        else:
            value = self.low + math.floor(u * (self.high - self.low + 1))
        return min(max(value, self.low), self.high)

    def to_unit(self, value: Value) -> float:
        """Return the centre of the share of ``value``."""
        self._require(value)
        number = int(value)
        if self.log:
            start = math.log(self.low)
            centre = math.log(number) + math.log1p(1 / number) / 2
            return (centre - start) / (math.log(self.high + 1) - start)
        return (number - self.low + 0.5) / (self.high - self.low + 1)

    @property
    def extremes(self) -> tuple[int, int]:
        """``low`` and ``high``."""
        return self.low, self.high

    @property
    def allowed(self) -> str:
        """``a whole number from 8 to 64``."""
        return f"a whole number from {self.low} to {self.high}"

    def check(self, value: object) -> str | None:
        """Return what is wrong with ``value``; neither ``8.0`` nor ``True`` is an integer."""
        if type(value) is int and self.low <= value <= self.high:
            return None
        return f"must be {self.allowed}, got {show(value)}"

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"int": [low, high], "log": True, "when": {...}}``."""
        return {"int": [self.low, self.high]} | _options(self.log, self.when)


@dataclass(frozen=True, init=False, eq=False)
class Choice(Domain):
    """One of the given values; each has an equal share of [0, 1], in the given order.

    Args:
        values: Texts, numbers or bools, all different. ``True``, ``1`` and ``1.0`` differ.
        when: As for ``Float``.

    Raises:
        SpaceError: If there is no value, a value is given twice, or one is not a plain scalar.

    Example::

        Choice("sgd", "adamw")
    """

    values: tuple[Value, ...]
    when: tuple[Condition, ...]

    def __init__(self, *values: Value, when: When | None = None) -> None:
        try:
            plain = plain_values(values)
        except SpaceError as error:
            hint = "; pass the values one by one" if _is_one_list(values) else ""
            raise SpaceError(f"Choice: {str(error).removesuffix('.')}{hint}.") from None
        self._keep(values=plain, when=read_conditions(when))

    def from_unit(self, u: float) -> Value:
        """Return the value whose share holds ``u``."""
        last = len(self.values) - 1
        return self.values[min(math.floor(_unit(u) * len(self.values)), last)]

    def to_unit(self, value: Value) -> float:
        """Return the centre of the share of ``value``."""
        self._require(value)
        index = typed(self.values).index(typed([value])[0])
        return (index + 0.5) / len(self.values)

    @property
    def extremes(self) -> tuple[Value, ...]:
        """All values."""
        return self.values

    @property
    def allowed(self) -> str:
        """``one of 'sgd', 'adamw'``."""
        return f"one of {show_all(self.values)}"

    def check(self, value: object) -> str | None:
        """Return what is wrong with ``value``, which must also have the type of a choice."""
        if is_among(value, self.values):
            return None
        hint = ""
        if isinstance(value, str):
            hint = did_you_mean(value, [known for known in self.values if isinstance(known, str)])
        return f"must be {self.allowed}, got {show(value)}{hint}"

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"choice": [...], "when": {...}}``."""
        return {"choice": list(self.values)} | _options(False, self.when)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Choice):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return typed(self.values), self.when


def domain_from_dict(name: str, mapping: object) -> Domain:
    """Rebuild a domain from ``to_dict()``, or from the YAML that a person wrote.

    Args:
        name: Name of the parameter, for the errors.
        mapping: ``{"int": [8, 64], "log": True}``, ``{"float": [0, 1]}`` or
            ``{"choice": ["sgd", "adamw"], "when": {...}}``. A domain is returned unchanged, and a
            constant such as ``3`` is a choice with one value.

    Raises:
        SpaceError: If the mapping is not a domain. The message names the parameter.
    """
    try:
        return _read_domain(mapping)
    except SpaceError as error:
        raise SpaceError(f"{name}: {error}") from None


def _read_domain(mapping: object) -> Domain:
    if isinstance(mapping, Domain):
        return mapping
    if isinstance(mapping, bool | int | float | str):
        return Choice(mapping)
    if not isinstance(mapping, Mapping):
        raise SpaceError(f"expected {_EXAMPLE}, got {show(mapping)}.")
    kinds = [kind for kind in _KINDS if kind in mapping]
    if len(kinds) != 1:
        hints = "".join(did_you_mean(str(key), _KINDS) for key in mapping)
        raise SpaceError(
            f"expected one of float, int and choice, got {show(dict(mapping))}{hints}."
        )
    (kind,) = kinds
    allowed = ("when",) if kind == "choice" else ("log", "when")
    for key in mapping:
        if key != kind and key not in allowed:
            hint = did_you_mean(str(key), allowed)
            raise SpaceError(f"{kind} allows {' and '.join(allowed)}, got {show(key)}{hint}.")
    arguments, options = mapping[kind], {key: mapping[key] for key in mapping if key != kind}
    if not isinstance(arguments, list | tuple):
        raise SpaceError(f"{kind} takes a list, as in {_EXAMPLE}, got {show(arguments)}.")
    if kind == "choice":
        return Choice(*arguments, **options)
    if len(arguments) != 2:
        raise SpaceError(f"{kind} takes [low, high], got {show(arguments)}.")
    return (Float if kind == "float" else Int)(*arguments, **options)


def _check_range(kind: str, low: float, high: float, log: object, needed: str) -> None:
    if low >= high:
        raise SpaceError(
            f"{kind}: low must be below high, got {low} and {high}; "
            "a hyperparameter with one value is fixed, not searched."
        )
    if not isinstance(log, bool):
        raise SpaceError(f"{kind}: log must be true or false, got {show(log)}.")
    if log and low <= 0:
        raise SpaceError(f"{kind}: log=True needs {needed}, got {low}.")


def _real(field: str, value: object) -> float:
    plain = _number(value)
    if isinstance(plain, int | float) and not isinstance(plain, bool):
        try:
            number = float(plain)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise SpaceError(f"Float: {field} must be a finite number, got {show(value)}.")


def _whole(field: str, value: object) -> int:
    plain = _number(value)
    if not isinstance(plain, int) or isinstance(plain, bool):
        raise SpaceError(f"Int: {field} must be a whole number, got {show(value)}.")
    if abs(plain) > MAX_INT:
        raise SpaceError(
            f"Int: {field} must lie within {MAX_INT} of 0, got {show(value)}; use Float instead."
        )
    return int(plain)


def _number(value: object) -> object:
    """Return a number of NumPy or PyTorch as a number of Python; anything else unchanged."""
    try:
        return plain_value(value)
    except SpaceError:
        return value


def _unit(u: float) -> float:
    number = float(u)
    if not 0.0 <= number <= 1.0:
        raise SpaceError(f"a coordinate must lie in [0, 1], got {number}.")
    return number


def _options(log: bool, when: tuple[Condition, ...]) -> dict[str, Any]:
    options: dict[str, Any] = {"log": True} if log else {}
    return options | ({"when": write_conditions(when)} if when else {})


def _is_one_list(values: tuple[object, ...]) -> bool:
    return len(values) == 1 and isinstance(values[0], list | tuple | set | dict)


_KINDS = ("float", "int", "choice")
_EXAMPLE = "{int: [8, 64], log: true}"

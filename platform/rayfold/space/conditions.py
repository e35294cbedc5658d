"""Conditions: a hyperparameter applies only if others have certain values."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rayfold.errors import SpaceError
from rayfold.results import Config, Value
from rayfold.space.values import is_among, plain_values, show, show_all, typed

When: TypeAlias = Mapping[str, Value | Sequence[Value]]
"""Names of parents, each with the value or values that it must have."""


@dataclass(frozen=True, eq=False)
class Condition:
    """One parent and its values that make a parameter apply.

    Attributes:
        parameter: Name of the parent.
        values: The condition holds if the parent has one of these; at least one.
    """

    parameter: str
    values: tuple[Value, ...]

    def holds(self, config: Config, active: Collection[str]) -> bool:
        """Tell whether the parent is active in ``config`` and has one of the values."""
        return (
            self.parameter in active
            and self.parameter in config
            and is_among(config[self.parameter], self.values)
        )

    def __str__(self) -> str:
        """Return the condition as an error shows it: ``optimizer.name is 'sgd'``."""
        one_of = "" if len(self.values) == 1 else "one of "
        return f"{self.parameter} is {one_of}{show_all(self.values)}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Condition):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return self.parameter, typed(self.values)


def read_conditions(when: When | None) -> tuple[Condition, ...]:
    """Return the conditions of ``when``, all of which must hold.

    Raises:
        SpaceError: If ``when`` is no mapping from names to values.
    """
    if when is None:
        return ()
    if not isinstance(when, Mapping):
        raise SpaceError(f"when maps names to values, got {show(when)}.")
    return tuple(_read_condition(parameter, values) for parameter, values in when.items())


def write_conditions(conditions: Sequence[Condition]) -> dict[str, Value | list[Value]]:
    """Return the mapping that ``read_conditions`` reads back."""
    return {
        condition.parameter: (
            condition.values[0] if len(condition.values) == 1 else list(condition.values)
        )
        for condition in conditions
    }


def _read_condition(parameter: object, values: object) -> Condition:
    if not isinstance(parameter, str):
        raise SpaceError(f"when maps names to values, got the name {show(parameter)}.")
    several = values if isinstance(values, list | tuple) else [values]
    try:
        return Condition(parameter, plain_values(several))
    except SpaceError as error:
        raise SpaceError(f"when {parameter}: {error}") from None

"""A few configurations that cover the ends of every domain of a space."""

from typing import TypeAlias

from rayfold.results import Value
from rayfold.space.domains import Choice, Domain, Int
from rayfold.space.space import SearchSpace
from rayfold.space.values import typed

_End: TypeAlias = tuple[str, Value]

MAX_CONFIGS = 16
"""Largest number of configurations; a space with more choices is covered in part."""


def end_configurations(space: SearchSpace, *, limit: int = MAX_CONFIGS) -> list[dict[str, Value]]:
    """Return configurations in which each domain takes its lowest, its highest or each choice.

    The first configuration has all lower ends (the first of each choice), the second all upper
    ends. Each further one has at least one end that is still missing. Conditions are respected:
    each conditional parameter gets a configuration in which it applies.

    Args:
        space: The space.
        limit: Largest number of configurations.
    """
    missing: dict[tuple[object, ...], _End] = {
        _key(name, value): (name, value)
        for name, domain in space.items()
        for value in domain.extremes
    }
    low = {name: domain.extremes[0] for name, domain in space.items()}
    high = {name: domain.extremes[-1] for name, domain in space.items()}
    found: list[dict[str, Value]] = []

    def add(values: dict[str, Value]) -> None:
        config = {name: values[name] for name in space.active(values)}
        for name, value in config.items():
            missing.pop(_key(name, value), None)
        if config not in found:
            found.append(config)

    add(low)
    add(high)
    while missing and len(found) < limit:
        name, value = missing.pop(next(iter(missing)))
        others = dict(reversed(missing.values()))
        add({**low, **others, **_needed(space, name), name: value})
    return found


def count_configurations(space: SearchSpace) -> int | None:
    """Return an upper bound of the number of configurations of a space; None without a limit.

    A conditional parameter counts as if it always applied.
    """
    number = 1
    for domain in space.values():
        size = _size(domain)
        if size is None:
            return None
        number *= size
    return number


def count_searched(space: SearchSpace) -> int:
    """Return how many parameters have more than one value."""
    return sum(_size(domain) != 1 for domain in space.values())


def _size(domain: Domain) -> int | None:
    """Return how many values a domain has; None without a limit."""
    low, high = domain.extremes[0], domain.extremes[-1]
    if isinstance(domain, Choice):
        return len(domain.values)
    if isinstance(domain, Int):
        return int(high) - int(low) + 1
    return 1 if low == high else None


def _needed(space: SearchSpace, name: str) -> dict[str, Value]:
    """Return values of other parameters with which a parameter applies."""
    needed: dict[str, Value] = {}
    for condition in space[name].when:
        needed |= _needed(space, condition.parameter)
        needed[condition.parameter] = condition.values[0]
    return needed


def _key(name: str, value: Value) -> tuple[object, ...]:
    return name, typed([value])

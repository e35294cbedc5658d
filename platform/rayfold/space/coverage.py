"""A few configurations that meet the ends of every domain of a space."""

from typing import TypeAlias

from rayfold.results import Value
from rayfold.space.domains import Choice, Domain, Int
from rayfold.space.space import SearchSpace
from rayfold.space.values import typed

_End: TypeAlias = tuple[str, Value]

MAX_CONFIGS = 16
"""Configurations at most; a space with more choices than that is met in part."""


def end_configurations(space: SearchSpace, *, limit: int = MAX_CONFIGS) -> list[dict[str, Value]]:
    """Return configurations in which each domain takes its lowest, its highest or each choice.

    The first has all lower ends (of choices the first), the second all upper ends. Each further
    one holds at least one end that those before lack. Conditions are respected: a parameter that
    applies only while another has some value gets a configuration in which it applies.

    Args:
        space: The space.
        limit: Configurations at most.
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
    """Return how many different configurations a space holds at most; None without a limit.

    A parameter that applies only sometimes counts as if it always did.
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
    """Return the values of other parameters with which one applies."""
    needed: dict[str, Value] = {}
    for condition in space[name].when:
        needed |= _needed(space, condition.parameter)
        needed[condition.parameter] = condition.values[0]
    return needed


def _key(name: str, value: Value) -> tuple[object, ...]:
    return name, typed([value])

"""The search space: named domains, their conditions, and their encoding in the unit cube."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rayfold.documents import read_yaml, write_yaml
from rayfold.errors import SpaceError, did_you_mean
from rayfold.results import Config, Value
from rayfold.space.conditions import Condition
from rayfold.space.domains import Choice, Domain, Int, domain_from_dict
from rayfold.space.values import plain_value, show


class SearchSpace(Mapping[str, Domain]):
    """An ordered mapping from names of hyperparameters to their domains.

    A configuration has a value for every *active* parameter, that is every parameter whose
    conditions all hold. The space is encoded in the unit cube [0, 1]^d with one coordinate per
    parameter, d = ``dimension``. Spaces are equal if they have equal domains and names in the same
    order.

    Args:
        domains: Dotted lower-case names, each with a ``Float``, ``Int``, ``Choice`` or constant.

    Raises:
        SpaceError: If there is no parameter, a name is malformed, or a condition names an unknown
            parent or an impossible value, or conditions form a circle.

    Example::

        space = SearchSpace({
            "optimizer.name": Choice("sgd", "adamw"),
            "optimizer.learning_rate": Float(1e-4, 1e-1, log=True),
            "optimizer.momentum": Float(0.0, 0.99, when={"optimizer.name": "sgd"}),
        })
        config = space.sample(np.random.default_rng(7))
    """

    def __init__(self, domains: Mapping[str, Domain | Value]) -> None:
        if not isinstance(domains, Mapping) or not domains:
            raise SpaceError(
                f"a search space maps one or more names to domains, got {show(domains)}."
            )
        self._domains: dict[str, Domain] = {}
        for name, domain in domains.items():
            _check_name(name)
            self._domains[name] = domain if isinstance(domain, Domain) else _constant(name, domain)
        for name, domain in self._domains.items():
            for condition in domain.when:
                self._check_condition(name, condition)
        self._parents_first = self._order()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""
        return tuple(self._domains)

    @property
    def dimension(self) -> int:
        """Number of coordinates of the unit cube: one per parameter."""
        return len(self._domains)

    def sample(self, generator: np.random.Generator) -> dict[str, Value]:
        """Draw a configuration uniformly from the unit cube; active parameters only.

        Every call takes ``dimension`` numbers from the generator.
        """
        return self.decode(generator.random(self.dimension))

    def encode(self, config: Config) -> NDArray[np.float64]:
        """Return the place of a configuration in the unit cube, shape ``(d,)``.

        Coordinates of inactive parameters are 0.5.

        Raises:
            SpaceError: As ``check``.
        """
        self.check(config)
        coordinates = [
            domain.to_unit(config[name]) if name in config else 0.5
            for name, domain in self._domains.items()
        ]
        return np.array(coordinates, dtype=np.float64)

    def decode(self, vector: NDArray[np.float64]) -> dict[str, Value]:
        """Return the configuration at a place in the unit cube; active parameters only.

        Args:
            vector: Coordinates in [0, 1], shape ``(d,)``; those of inactive parameters are
                ignored.

        Raises:
            SpaceError: If the shape differs, or a coordinate lies outside [0, 1].
        """
        if np.shape(vector) != (self.dimension,):
            raise SpaceError(
                f"expected a vector of shape ({self.dimension},), got {np.shape(vector)}."
            )
        values = {
            name: domain.from_unit(u)
            for (name, domain), u in zip(self._domains.items(), vector, strict=True)
        }
        return {name: values[name] for name in self.active(values)}

    def active(self, config: Config) -> tuple[str, ...]:
        """Return the names of the parameters that apply in ``config``, in order.

        A parameter applies if all its parents apply and have one of the required values. Values
        in ``config`` for parameters that do not apply change nothing.
        """
        active: set[str] = set()
        for name in self._parents_first:
            if all(condition.holds(config, active) for condition in self._domains[name].when):
                active.add(name)
        return tuple(name for name in self._domains if name in active)

    def check(self, config: Config) -> None:
        """Check that ``config`` has an allowed value for each active parameter, and no others.

        Raises:
            SpaceError: If not; the message names the parameter and the allowed values.
        """
        for name in config:
            if name not in self._domains:
                hint = did_you_mean(str(name), self.names)
                raise SpaceError(
                    f"{show(name)} is not a parameter of the space{hint}; leave it out, or give "
                    "the space a domain for it."
                )
        active = self.active(config)
        for name in self._parents_first:
            domain = self._domains[name]
            if name not in active:
                if name in config:
                    reason = " and ".join(map(str, domain.when))
                    raise SpaceError(f"{name} applies only when {reason}; leave it out.")
            elif name not in config:
                raise SpaceError(f"{name} is missing; give it {domain.allowed}.")
            else:
                problem = domain.check(config[name])
                if problem is not None:
                    raise SpaceError(f"{name} {problem}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the space as plain values, for YAML and JSON; the order matters."""
        return {name: domain.to_dict() for name, domain in self._domains.items()}

    @classmethod
    def from_dict(cls, mapping: object) -> Self:
        """Rebuild a space from ``to_dict()``, or from the YAML that a person wrote.

        Raises:
            SpaceError: As the class does; also if values are not domains, one sentence for each.
        """
        if not isinstance(mapping, Mapping):
            raise SpaceError(f"a search space maps names to domains, got {show(mapping)}.")
        domains: dict[str, Domain] = {}
        problems = []
        for name, described in mapping.items():
            try:
                _check_name(name)
                domains[name] = domain_from_dict(name, described)
            except SpaceError as error:
                problems.append(str(error))
        if problems:
            raise SpaceError(" ".join(problems))
        return cls(domains)

    def to_yaml(self) -> str:
        """Return the space as a YAML document."""
        return write_yaml(self.to_dict())

    @classmethod
    def from_yaml(cls, text: str, *, source: str = "search space") -> Self:
        """Read a space from a YAML document.

        Args:
            text: The document: one ``name: {int: [8, 64], log: true}`` per parameter.
            source: Name for errors, such as the name of the file.

        Raises:
            RecipeError: If the document is not YAML.
            SpaceError: If it is not a search space.
        """
        document = read_yaml(text, source=source)
        try:
            return cls.from_dict(document)
        except SpaceError as error:
            raise SpaceError(f"{source}: {error}") from None

    def __getitem__(self, name: str) -> Domain:
        return self._domains[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._domains)

    def __len__(self) -> int:
        return len(self._domains)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SearchSpace):
            return NotImplemented
        return list(self._domains.items()) == list(other._domains.items())

    def __hash__(self) -> int:
        return hash(tuple(self._domains.items()))

    def __repr__(self) -> str:
        return f"SearchSpace({self._domains!r})"

    def _check_condition(self, name: str, condition: Condition) -> None:
        parent = self._domains.get(condition.parameter)
        if parent is None:
            hint = did_you_mean(condition.parameter, self.names)
            raise SpaceError(
                f"{name}: when names {show(condition.parameter)}, "
                f"which is not a parameter of the space{hint}."
            )
        if not isinstance(parent, Choice | Int):
            raise SpaceError(
                f"{name}: when may name a Choice or an Int, "
                f"but {condition.parameter} is a {type(parent).__name__}."
            )
        for value in condition.values:
            problem = parent.check(value)
            if problem is not None:
                raise SpaceError(f"{name}: when can never hold; {condition.parameter} {problem}.")

    def _order(self) -> tuple[str, ...]:
        """Return the names with every parent before its children."""
        placed: dict[str, None] = {}
        waiting = list(self._domains)
        while waiting:
            ready = [
                name
                for name in waiting
                if all(condition.parameter in placed for condition in self._domains[name].when)
            ]
            if not ready:
                raise SpaceError(
                    f"conditions lead in a circle through {', '.join(waiting)}; break it."
                )
            placed.update(dict.fromkeys(ready))
            waiting = [name for name in waiting if name not in placed]
        return tuple(placed)


def _constant(name: str, value: object) -> Choice:
    try:
        return Choice(plain_value(value))
    except SpaceError:
        raise SpaceError(
            f"{name}: expected Float, Int, Choice or a constant, got {show(value)}."
        ) from None


_NAME = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*")


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SpaceError(
            "names are lower-case identifiers joined by dots, such as model.channels, "
            f"got {show(name)}."
        )

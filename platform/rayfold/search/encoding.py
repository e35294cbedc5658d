"""Configurations as numbers: the rows that surrogate models are fitted to.

scikit-optimize's own dimensions support neither conditions nor equal shares of integers. So only
its models are used, on the unit cube of ``rayfold.space``.

A *place* is a point of the unit cube; every configuration has exactly one. It is the centre of a
value's share for ``Int`` and ``Choice``, and 0.5 for inactive parameters. *Features* are the
columns that a model gets: one-hot categories, and a flag for every condition.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from rayfold.results import Config
from rayfold.space import Choice, Domain, Float, Int, SearchSpace

Matrix = NDArray[np.float64]

NEUTRAL = 0.5
"""The place of a parameter that does not apply."""

MAX_STEPS = 16
"""Largest number of neighbours of an integer that the local search tries."""


class Encoding:
    """Turns points of the unit cube into places, places into features, and back.

    Args:
        space: The search space.

    Attributes:
        num_features: Columns of ``features``.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._names = list(space.names)
        self._columns = {name: index for index, name in enumerate(self._names)}
        self._conditional = [name for name in self._names if space[name].when]
        flags = {space[name].when: name for name in reversed(self._conditional)}
        self._flagged = [self._columns[name] for name in reversed(list(flags.values()))]
        self.num_features = self.features(np.full((1, len(self._names)), NEUTRAL)).shape[1]

    def place(self, config: Config) -> Matrix:
        """Return the place of a configuration, shape ``(d,)``."""
        return self._space.encode(config)

    def config(self, place: Matrix) -> Config:
        """Return the configuration at a place."""
        return self._space.decode(place)

    def key(self, place: Matrix) -> bytes:
        """Return a key that is equal for equal configurations; numbers are rounded to 9 digits."""
        return np.round(place, 9).tobytes()

    def places(self, points: Matrix) -> Matrix:
        """Move points of the unit cube to their configurations' places, shape ``(n, d)``."""
        places = np.column_stack(
            [_snap(self._space[name], points[:, i]) for i, name in enumerate(self._names)]
        )
        return np.where(self._active(places), places, NEUTRAL)

    def features(self, places: Matrix) -> Matrix:
        """Return the features of places, shape ``(n, num_features)``, all in [0, 1]."""
        active = self._active(places)
        columns: list[Matrix] = []
        for index, name in enumerate(self._names):
            columns += _feature_columns(self._space[name], places[:, index], active[:, index])
        columns += [active[:, index].astype(float) for index in self._flagged]
        return np.column_stack(columns)

    def neighbours(self, place: Matrix, *, width: float) -> Matrix:
        """Return all places that differ from one in a single active parameter.

        Every other category; every other value of an integer, up to 16 of them near and far;
        numbers at both sides, ``width`` and half of it away, and at both ends.
        """
        active = self._active(place[None])[0]
        rows = [
            np.concatenate([place[:index], [value], place[index + 1 :]])
            for index, name in enumerate(self._names)
            if active[index]
            for value in _other_values(self._space[name], place[index], width)
        ]
        places = self.places(np.array(rows))
        other: Matrix = places[(np.abs(places - place) > 1e-12).any(axis=1)]
        return other

    def _active(self, places: Matrix) -> NDArray[np.bool_]:
        """Tell where each parameter applies, shape ``(n, d)``."""
        active = np.ones(places.shape, dtype=bool)
        for _ in self._conditional:  # at most so many links from a parameter up to its root
            before = active.copy()
            for name in self._conditional:
                column = self._columns[name]
                holds = np.ones(len(places), dtype=bool)
                for condition in self._space[name].when:
                    parent = self._columns[condition.parameter]
                    domain = self._space[condition.parameter]
                    wanted = [domain.to_unit(value) for value in condition.values]
                    close = np.isclose(places[:, parent, None], wanted, rtol=0.0, atol=1e-12)
                    holds &= active[:, parent] & close.any(axis=1)
                active[:, column] = holds
            if (active == before).all():
                break
        return active


def _snap(domain: Domain, points: Matrix) -> Matrix:
    """Return the centre of the share that holds each point; a ``Float`` has no shares."""
    if isinstance(domain, Choice):
        return _centres(points, len(domain.values))
    if isinstance(domain, Int) and not domain.log:
        return _centres(points, domain.high - domain.low + 1)
    if isinstance(domain, Int):
        start, stretch = math.log(domain.low), math.log(domain.high + 1) - math.log(domain.low)
        values = np.floor(np.exp(start + points * stretch)).clip(domain.low, domain.high)
        centres: Matrix = (np.log(values) + np.log1p(1 / values) / 2 - start) / stretch
        return centres
    return points


def _centres(points: Matrix, count: int) -> Matrix:
    """Return the centres of the shares of [0, 1] that hold the points; ``count`` equal ones."""
    centres: Matrix = (np.minimum(np.floor(points * count), count - 1) + 0.5) / count
    return centres


def _feature_columns(domain: Domain, places: Matrix, active: NDArray[np.bool_]) -> list[Matrix]:
    if not isinstance(domain, Choice) or len(domain.values) == 1:
        return [places]
    index = np.floor(places * len(domain.values)).astype(int)
    numbers = [value for value in domain.values if type(value) in (int, float)]
    if len(numbers) == len(domain.values):  # an ordered choice: equal steps
        steps = np.argsort(np.argsort(np.array(numbers, dtype=float)))
        return [np.where(active, steps[index] / (len(numbers) - 1), NEUTRAL)]
    if len(domain.values) == 2:
        return [np.where(active, index.astype(float), NEUTRAL)]
    return [
        np.where(active, (index == category).astype(float), 0.0)
        for category in range(len(domain.values))
    ]


def _other_values(domain: Domain, place: float, width: float) -> Iterator[float]:
    if isinstance(domain, Float):
        steps = (place - width, place - width / 2, place + width / 2, place + width)
        yield from (step for step in steps if 0.0 < step < 1.0)
        yield from (end for end in (0.0, 1.0) if end != place)
    elif isinstance(domain, Choice):
        yield from (domain.to_unit(value) for value in domain.values)
    elif isinstance(domain, Int):
        yield from (domain.to_unit(value) for value in _other_integers(domain, place, width))


def _other_integers(domain: Int, place: float, width: float) -> Iterable[int]:
    if domain.high - domain.low < MAX_STEPS:
        return range(domain.low, domain.high + 1)
    value = int(domain.from_unit(place))
    near = (value + step for step in (-2, -1, 1, 2))
    far = np.clip(place + width * np.array([-1.0, -0.5, 0.5, 1.0]), 0.0, 1.0)
    values = {*near, *(int(domain.from_unit(u)) for u in far), domain.low, domain.high}
    return sorted(value for value in values if domain.low <= value <= domain.high)

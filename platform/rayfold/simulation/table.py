"""Tabulated configurations: what each scored, and how long it took."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from rayfold.errors import DataError
from rayfold.results import Config, Mode, Value
from rayfold.space import Choice, Domain, SearchSpace
from rayfold.space.values import typed

MAX_SECONDS = 1e9
"""Longest running time of a measurement, 32 years: sums of them stay exact enough."""


@dataclass(frozen=True)
class Found:
    """The row that stands for a configuration.

    Attributes:
        row: Its index.
        exact: Whether it is the configuration itself, and not merely the nearest one.
    """

    row: int
    exact: bool


class Table:
    """Scores and running times of the configurations of a space, a row each.

    A configuration that has no row of its own is answered by the nearest row: the one at the
    smallest Euclidean distance in the unit cube, where texts and booleans that differ are at
    distance 1, and so are a parameter that applies and one that does not. Of rows that are
    equally near one is taken, always the same.

    Args:
        space: The search space.
        configs: A configuration of the space for each row, all different; taken as valid.
        scores: What was measured, shape ``(rows, measurements)``; NaN: it failed.
        seconds: How long each measurement took, same shape.
        repeated: Whether a row's measurements are repetitions, of which each fold draws one;
            else measurement i is that of fold i.
        source: What the errors name, such as the name of the file.

    Raises:
        DataError: If there is no row, the shapes differ, a configuration is there twice, or a
            running time is no finite number from 0.
    """

    def __init__(
        self,
        space: SearchSpace,
        configs: Sequence[Config],
        scores: NDArray[np.float64],
        seconds: NDArray[np.float64],
        *,
        repeated: bool = True,
        source: str = "table",
    ) -> None:
        if not configs:
            raise DataError(f"{source}: there is no row; a table holds one per configuration.")
        if scores.ndim != 2 or scores.shape != seconds.shape or len(scores) != len(configs):
            raise DataError(
                f"{source}: {len(configs)} configurations need scores and seconds of shape "
                f"({len(configs)}, measurements), got {scores.shape} and {seconds.shape}."
            )
        wrong = np.argwhere(~((seconds >= 0) & (seconds <= MAX_SECONDS)))
        if len(wrong):
            row, column = wrong[0]
            raise DataError(
                f"{source} row {row + 1}: seconds must be a number from 0 to {MAX_SECONDS:g}, "
                f"got {seconds[row, column]}."
            )
        self.space, self.configs, self.source = space, list(configs), source
        self.scores, self.seconds, self.repeated = scores, seconds, repeated
        self._coordinates = _Coordinates(space)
        self._rows: dict[object, int] = {}
        for row, config in enumerate(self.configs):
            before = self._rows.setdefault(self._key(config), row)
            if before != row:
                raise DataError(
                    f"{source}: rows {before + 1} and {row + 1} hold the same configuration "
                    f"{dict(config)}; keep one, with a column per measurement."
                )
        self._nearest: dict[object, int] = {}
        self._tree: KDTree | None = None

    def __len__(self) -> int:
        return len(self.configs)

    @property
    def num_measurements(self) -> int:
        """Measurements of each row."""
        return int(self.scores.shape[1])

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean score of each row, shape ``(rows,)``; NaN where a measurement failed."""
        means: NDArray[np.float64] = self.scores.mean(axis=1)
        return means

    def find(self, config: Config) -> Found:
        """Return the row of a configuration of the space, or the nearest one."""
        key = self._key(config)
        row = self._rows.get(key)
        if row is not None:
            return Found(row, exact=True)
        if key not in self._nearest:
            self._nearest[key] = self._search(config)
        return Found(self._nearest[key], exact=False)

    def good_score(self, mode: Mode, share: float = 0.001) -> float:
        """Return the mean score that the best ``share`` of the rows reach.

        Raises:
            DataError: If every row failed.
        """
        means = self.means[np.isfinite(self.means)]
        if not len(means):
            raise DataError(f"{self.source}: every row failed; there is no score.")
        best_first = np.sort(means if mode == "min" else -means)
        score = float(best_first[max(0, math.ceil(share * len(means)) - 1)])
        return score if mode == "min" else -score

    def _search(self, config: Config) -> int:
        if self._tree is None:
            self._tree = KDTree([self._coordinates(row) for row in self.configs])
        _, row = self._tree.query(self._coordinates(config))
        return int(row)

    def _key(self, config: Config) -> object:
        return typed(config.get(name, "") for name in self.space)


class _Coordinates:
    """Turns configurations into points between which distances mean something."""

    def __init__(self, space: SearchSpace) -> None:
        self._parameters = [
            (name, _axes(domain), bool(domain.when)) for name, domain in space.items()
        ]

    def __call__(self, config: Config) -> list[float]:
        point: list[float] = []
        for name, (width, place), conditional in self._parameters:
            applies = name in config
            point += place(config[name]) if applies else [0.5] * width
            if conditional:
                point.append(float(applies))
        return point


def _axes(domain: Domain) -> tuple[int, Callable[[Value], list[float]]]:
    """Return how many coordinates a domain's values have, and what they are."""
    ordered = not isinstance(domain, Choice) or all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in domain.values
    )
    if ordered:
        return 1, lambda value: [domain.to_unit(value)]
    corner = math.sqrt(0.5)  # two corners are at distance 1
    count = len(domain.extremes)
    places: Mapping[object, list[float]] = {
        typed([value]): [corner * (index == other) for other in range(count)]
        for index, value in enumerate(domain.extremes)
    }
    return count, lambda value: places[typed([value])]

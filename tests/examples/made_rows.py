"""A source that makes its rows: points of the plane, and on which side of a circle they lie."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rayfold.data import Column, Roles, Source, columns_of


class MadeRows(Source):
    """Points of a normal distribution; half of them, on average, lie inside the circle.

    Args:
        num_rows: How many.
        random_seed: Seed of all drawing.
    """

    def __init__(self, *, num_rows: int = 200, random_seed: int = 0) -> None:
        self._num_rows, self._random_seed = num_rows, random_seed

    def roles(self) -> Roles:
        """Return which column is the model's input, and which one is to be predicted."""
        return Roles(features=("point",), labels="place")

    def columns(self, names: Sequence[str]) -> Sequence[Column]:
        """Make the rows; ``quadrant`` is a column for parts of the rows."""
        generator = np.random.default_rng(self._random_seed)
        points = generator.normal(size=(self._num_rows, 2)).astype(np.float32)
        made = {
            "point": points,
            "place": np.where((points**2).sum(axis=1) < 2 * np.log(2), "inside", "outside"),
            "quadrant": 2 * (points[:, 0] > 0) + (points[:, 1] > 0),
        }
        return columns_of(made, names)

    def describe(self) -> Mapping[str, Any]:
        """Return the name and the arguments."""
        return {
            "made_rows": {"num_rows": self._num_rows, "random_seed": self._random_seed},
        }

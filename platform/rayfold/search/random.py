"""Random search: the baseline that every other searcher must beat."""

from typing import Any

import numpy as np

from rayfold.options.arguments import checked
from rayfold.options.fields import Seed
from rayfold.results import Config
from rayfold.search.base import Observation, Searcher


class Random(Searcher):
    """Draws every configuration independently, uniformly from the unit cube, and never ends.

    Args:
        random_seed: Seed of the random draws, at least 0.

    Raises:
        RecipeError: If ``random_seed`` is not a whole number or is negative.
    """

    learns = False

    @checked
    def __init__(self, *, random_seed: Seed = 0) -> None:
        self._random_seed = random_seed

    def settings(self) -> dict[str, Any]:
        """Return ``{"random": {"random_seed": 0}}``."""
        return {"random": {"random_seed": self._random_seed}}

    def _begin(self) -> None:
        self._generator = np.random.default_rng(self._random_seed)

    def _propose(self) -> Config:
        return self.space.sample(self._generator)

    def _learn(self, observation: Observation) -> None:
        """Do nothing: scores do not matter."""

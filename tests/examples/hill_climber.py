"""A searcher that changes one parameter of the best configuration at a time."""

from typing import Any

import numpy as np

from rayfold.results import Config
from rayfold.search import Observation, Searcher


class HillClimber(Searcher):
    """Draws some configurations, then neighbours of the best one.

    Args:
        num_initial: How many are drawn at first.
        random_seed: Seed of all drawing.
    """

    def __init__(self, *, num_initial: int = 5, random_seed: int = 0) -> None:
        self._num_initial, self._random_seed = num_initial, random_seed

    def settings(self) -> dict[str, Any]:
        """Return the arguments, as a recipe names them."""
        return {
            "hill_climber": {"num_initial": self._num_initial, "random_seed": self._random_seed}
        }

    def _begin(self) -> None:
        self._generator = np.random.default_rng(self._random_seed)

    def _propose(self) -> Config:
        drawn = self.space.sample(self._generator)
        if self.best is None or len(self._suggestions) < self._num_initial:
            return drawn
        start = self.best[0].config
        name = str(self._generator.choice(sorted(start)))
        changed = {**drawn, **start, name: drawn.get(name, start[name])}
        neighbour = {key: changed[key] for key in self.space.active(changed)}
        known = any(other.config == neighbour for other in self._suggestions.values())
        return drawn if known else neighbour

    def _learn(self, observation: Observation) -> None:
        """Nothing but the best one is needed, which the base class knows."""

"""Genetic search, generation by generation."""

import math
from collections import deque
from typing import Any

import numpy as np

from rayfold.errors import RecipeError
from rayfold.results import Config
from rayfold.search.base import Observation, Searcher, whole_number
from rayfold.search.operators import Individual, build_toolbox


class Genetic(Searcher):
    """Evolves a population of configurations.

    Generation 0 is random. Each later one keeps the fittest as elites, which keep their scores
    and are not trained again, and fills the rest with children: two parents by binary
    tournament, crossover away from the less fit one, and a mutation that narrows from generation
    to generation. Failed trials are the least fit, all alike.

    A generation is bred when all results of the one before are in; until then ``suggest()``
    returns None. A chromosome is a point of the unit cube, one gene per hyperparameter; genes of
    inactive hyperparameters are carried along. The formulas stand in ``operators``.

    Args:
        population: Size of each generation, at least 2.
        generations: How many generations, G in the formulas, the random one included, at least
            1. The children of generation g, counted from 0, mutate with ``g / G``.
        random_seed: Seed of all the drawing, at least 0.
        elite_fraction: Share of a generation that is kept, between 0 and 1: rounded down, at
            least one individual, and never all of them.

    Raises:
        RecipeError: If an argument is out of range.
    """

    def __init__(
        self,
        *,
        population: int = 16,
        generations: int = 8,
        random_seed: int = 0,
        elite_fraction: float = 0.2,
    ) -> None:
        self._size = whole_number("population", population, at_least=2)
        self._num_generations = whole_number("generations", generations, at_least=1)
        self._random_seed = whole_number("random_seed", random_seed, at_least=0)
        if type(elite_fraction) is not float or not 0.0 < elite_fraction < 1.0:
            raise RecipeError(
                f"elite_fraction must be a number between 0 and 1, got {elite_fraction!r}."
            )
        self._elite_fraction = elite_fraction

    @property
    def generation(self) -> int:
        """Generation of the latest suggestion, counted from 0."""
        return self._generation if self._space is not None else 0

    @property
    def num_elites(self) -> int:
        """How many individuals of a generation are kept for the next."""
        share = math.floor(self._elite_fraction * self._size + 1e-9)  # 0.29 * 100 is 28.99...
        return min(max(share, 1), self._size - 1)

    @property
    def capacity(self) -> int:
        """How many configurations will be suggested in all: elites are counted once."""
        return self._size + (self._num_generations - 1) * (self._size - self.num_elites)

    def settings(self) -> dict[str, Any]:
        """Return ``{"genetic": {"population": 16, "generations": 8, ...}}``."""
        return {
            "genetic": {
                "population": self._size,
                "generations": self._num_generations,
                "random_seed": self._random_seed,
                "elite_fraction": self._elite_fraction,
            }
        }

    def _begin(self) -> None:
        generator = np.random.default_rng(self._random_seed)
        self._toolbox = build_toolbox(generator, dimension=self.space.dimension, mode=self.mode)
        self._generation = 0
        self._population = [self._toolbox.individual(number) for number in range(self._size)]
        self._waiting = deque(self._population)
        self._training: dict[int, Individual] = {}

    def _propose(self) -> Config | None:
        if not self._waiting:
            if self._training:
                return None
            self._breed()
        individual = self._waiting.popleft()
        self._training[individual.number] = individual
        return self.space.decode(individual.genes)

    def _learn(self, observation: Observation) -> None:
        worst = math.inf if self.mode == "min" else -math.inf
        individual = self._training.pop(observation.suggestion.number)
        individual.fitness.values = (worst if observation.score is None else observation.score,)

    def _breed(self) -> None:
        """Replace the population by its elites and their generation's children."""
        self._generation += 1
        elites = self._toolbox.keep(self._population, self.num_elites)
        start = max(individual.number for individual in self._population) + 1
        children = [
            self._child(number) for number in range(start, start + self._size - len(elites))
        ]
        self._population = elites + children
        self._waiting.extend(children)

    def _child(self, number: int) -> Individual:
        fitter, other = self._toolbox.select(self._population)
        genes = self._toolbox.mate(fitter.genes, other.genes)
        genes = self._toolbox.mutate(genes, progress=self._generation / self._num_generations)
        child: Individual = self._toolbox.child(number, genes)
        return child

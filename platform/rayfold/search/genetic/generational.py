"""Generational genetic search: a barrier after each generation."""

from collections import deque

from rayfold.results import Config
from rayfold.search.genetic.breeder import Breeder
from rayfold.search.genetic.operators import Individual
from rayfold.search.genetic.stagnation import Stagnation


class Generational:
    """Breeds a generation when all results of the last one are in.

    The fittest of a generation are the elites of the next one. The rest of the next one are
    children, or random individuals at a restart.

    Args:
        breeder: Makes the individuals.
        stagnation: Knows when to restart.
        size: Individuals in a generation.
        num_elites: How many of them are kept.
        num_generations: G in the formulas; g/G is at most 1.

    Attributes:
        population: The present generation, the elites first.
    """

    def __init__(
        self,
        breeder: Breeder,
        stagnation: Stagnation,
        *,
        size: int,
        num_elites: int,
        num_generations: int,
    ) -> None:
        self._breeder, self._stagnation = breeder, stagnation
        self._size, self._num_elites = size, num_elites
        self._num_generations = num_generations
        self._generation = 0
        self.population = [breeder.random() for _ in range(size)]
        self._waiting = deque(self.population)
        self._num_out = 0

    def propose(self) -> Individual | None:
        """Return the next individual; None while results are outstanding."""
        if not self._waiting:
            if self._num_out:
                return None
            self._breed()
        self._num_out += 1
        return self._waiting.popleft()

    def seed(self, config: Config) -> Individual:
        """Return the individual of a given configuration.

        It replaces an individual that waits for training. If none waits, because the generation's
        results are outstanding, it joins the generation.
        """
        individual = self._breeder.given(config)
        if self._waiting:
            replaced = self._waiting.popleft()
            self.population[self.population.index(replaced)] = individual
        else:
            self.population.append(individual)
        self._num_out += 1
        return individual

    def learn(self, individual: Individual) -> None:
        """Learn of an individual of the present generation whose fitness is known."""
        self._num_out -= 1

    def relearn(self, individual: Individual) -> None:
        """Learn of a failed individual that now has a fitness; there is nothing else to do."""

    def _breed(self) -> None:
        """Replace the population by its elites and the generation's children."""
        self._generation += 1
        elites = self._breeder.fittest(self.population, self._num_elites)
        num_children = self._size - len(elites)
        if self._stagnation.reached:
            self._stagnation.reset(num_made=self._breeder.num_made)
            children = [self._breeder.random() for _ in range(num_children)]
        else:
            progress = min(1.0, self._generation / self._num_generations)
            children = [
                self._breeder.child(self.population, progress=progress)
                for _ in range(num_children)
            ]
        self.population = elites + children
        self._waiting.extend(children)

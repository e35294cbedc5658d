"""Without a barrier: a child is bred whenever one is asked for."""

from bisect import insort

from rayfold.results import Config
from rayfold.search.genetic.breeder import Breeder
from rayfold.search.genetic.operators import Individual, rank
from rayfold.search.genetic.stagnation import Stagnation


class SteadyState:
    """Breeds from a population of those told so far, and never waits.

    Individuals are random until the population is full; a few early results are those of short
    trials, not of good ones. At a restart the population becomes the fittest of all, and is
    filled anew; whoever was made before enters it only if fitter than all members.

    Args:
        breeder: Makes the individuals.
        stagnation: Knows when to restart.
        size: Individuals in the population.
        horizon: How many individuals are foreseen: with n of them told, children mutate with
            ``g/G = n / horizon``, 1 at most.
        ageing: Whether the oldest member makes room for a new one, instead of the least fit, and
            parents win tournaments over a quarter of the population.

    Attributes:
        population: Those who are bred from, the least fit first; with ``ageing`` the oldest.
    """

    def __init__(
        self,
        breeder: Breeder,
        stagnation: Stagnation,
        *,
        size: int,
        horizon: int,
        ageing: bool,
    ) -> None:
        self._breeder, self._stagnation = breeder, stagnation
        self._size, self._horizon, self._ageing = size, horizon, ageing
        self._num_told = 0
        self._last_restart = 0
        self.population: list[Individual] = []

    def propose(self) -> Individual:
        """Return a random individual while the population is not full, then a child."""
        if self._stagnation.reached:
            self._restart()
        if len(self.population) < self._size:
            return self._breeder.random()
        return self._breeder.child(
            self.population,
            progress=min(1.0, self._num_told / self._horizon),
            by_sample=self._ageing,
        )

    def seed(self, config: Config) -> Individual:
        """Return the individual of a given configuration; it enters the population when told."""
        return self._breeder.given(config)

    def learn(self, individual: Individual) -> None:
        """Take in an individual whose fitness is known now."""
        self._num_told += 1
        if individual.number < self._last_restart and not self._excels(individual):
            return
        if self._ageing:
            self.population.append(individual)
        else:
            insort(self.population, individual, key=rank)
        if len(self.population) > self._size:
            del self.population[0]

    def relearn(self, individual: Individual) -> None:
        """Take in that an individual that failed has a fitness after all."""
        if all(member is not individual for member in self.population):
            self._num_told -= 1
            self.learn(individual)
        elif not self._ageing:
            self.population.sort(key=rank)

    def _excels(self, individual: Individual) -> bool:
        return all(individual.fitness > member.fitness for member in self.population)

    def _restart(self) -> None:
        assert self._stagnation.fittest is not None  # who else would stagnate
        self._last_restart = self._breeder.num_made
        self._stagnation.reset(num_made=self._last_restart)
        self.population = [self._stagnation.fittest]

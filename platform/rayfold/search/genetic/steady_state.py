"""Steady-state genetic search: a child is bred on each request, without a barrier."""

from bisect import insort

from rayfold.results import Config
from rayfold.search.genetic.breeder import Breeder
from rayfold.search.genetic.operators import Individual, rank
from rayfold.search.genetic.stagnation import Stagnation


class SteadyState:
    """Breeds from a population of observed individuals, and never waits.

    Individuals are random until the population is full: the first few results come from short
    trials, not from good ones. A restart keeps only the fittest individual and fills the
    population anew. An individual made before the restart enters it only if it is fitter than all
    members.

    Args:
        breeder: Makes the individuals.
        stagnation: Knows when to restart.
        size: Individuals in the population.
        horizon: Planned number of individuals: after n observed ones, children mutate with
            ``g/G = n / horizon``, at most 1.
        ageing: Whether a new member replaces the oldest one instead of the least fit, and
            tournaments are over a quarter of the population.

    Attributes:
        population: The possible parents, the least fit first; with ``ageing`` the oldest first.
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
        """Return the individual of a configuration; it enters the population when observed."""
        return self._breeder.given(config)

    def learn(self, individual: Individual) -> None:
        """Learn of an individual whose fitness is now known."""
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
        """Learn of a failed individual that now has a fitness."""
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

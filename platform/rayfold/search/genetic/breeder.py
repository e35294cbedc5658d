"""Makes individuals: at random, or as children of a population."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain

import numpy as np

from rayfold.results import Config, Mode
from rayfold.search.genetic.operators import Genes, Individual, build_toolbox
from rayfold.space import SearchSpace
from rayfold.space.values import typed

NUM_TRIES = 10
"""So often a child is bred until its configuration is new, and as often mutated harder."""

NUM_DRAWS = 64
"""So often a configuration is drawn until it is new."""


class Breeder:
    """Makes the individuals of a search, numbered in their order.

    Unless duplicates are allowed, an individual whose configuration was made before is made
    again: bred up to ``NUM_TRIES`` times, then as often with a mutation of every gene that is as
    wide as at the start, then drawn up to ``NUM_DRAWS`` times. Where even that finds nothing new
    the space is as good as exhausted: the first attempt stands, and duplicates are allowed from
    then on.

    Args:
        space: Where to search.
        mode: Whether lower or higher scores are fitter.
        generator: Where all random numbers come from.
        mutation_probability: How likely each gene of a child is mutated.
        allow_duplicates: Whether the same configuration may be made again.
        immigrants: How likely a child is drawn at random instead.

    Attributes:
        num_made: How many individuals were made.
    """

    def __init__(
        self,
        space: SearchSpace,
        mode: Mode,
        generator: np.random.Generator,
        *,
        mutation_probability: float,
        allow_duplicates: bool,
        immigrants: float,
    ) -> None:
        self._space = space
        self._toolbox = build_toolbox(generator, space=space, mode=mode)
        self._generator = generator
        self._probability = mutation_probability
        self._allow_duplicates = allow_duplicates
        self._immigrants = immigrants
        self._seen: set[tuple[object, ...]] = set()
        self.num_made = 0

    def random(self) -> Individual:
        """Return an individual drawn from the whole space."""
        return self._new(_repeat(self._toolbox.draw, NUM_DRAWS))

    def given(self, config: Config) -> Individual:
        """Return the individual of a configuration, which is not made again."""
        individual: Individual = self._toolbox.individual(
            self.num_made, self._space.encode(config)
        )
        self._note(individual)
        self.num_made += 1
        return individual

    def child(
        self, population: Sequence[Individual], *, progress: float, by_sample: bool = False
    ) -> Individual:
        """Return a child of two members of the population, or an immigrant.

        Args:
            population: At least two individuals with a fitness.
            progress: ``g/G`` in [0, 1): the further, the narrower is the mutation.
            by_sample: Whether a parent wins its tournament over a quarter of the population,
                not just over one other.
        """
        if self._immigrants and self._generator.random() < self._immigrants:
            return self.random()

        bred = partial(self._bred, population, progress=progress, by_sample=by_sample)
        return self._new(
            chain(
                _repeat(bred, NUM_TRIES),
                _repeat(lambda: self._mutated(bred(), 0.0, probability=1.0), NUM_TRIES),
                _repeat(self._toolbox.draw, NUM_DRAWS),
            )
        )

    def fittest(self, population: Sequence[Individual], number: int) -> list[Individual]:
        """Return so many of the population, the fittest first."""
        kept: list[Individual] = self._toolbox.keep(population, number)
        return kept

    def _bred(
        self, population: Sequence[Individual], *, progress: float, by_sample: bool
    ) -> Genes:
        tools = self._toolbox
        tournament = tools.sample_tournament if by_sample else tools.tournament
        fitter, other = tools.select(population, tournament)
        return self._mutated(
            self._toolbox.mate(fitter, other), progress, probability=self._probability
        )

    def _mutated(self, genes: Genes, progress: float, *, probability: float) -> Genes:
        moved: Genes = self._toolbox.mutate(genes, progress=progress, probability=probability)
        return moved

    def _new(self, attempts: Iterator[Genes]) -> Individual:
        """Return the first individual whose configuration is new, or else the first."""
        first: Individual | None = None
        for genes in attempts:
            individual: Individual = self._toolbox.individual(self.num_made, genes)
            first = first or individual
            if self._allow_duplicates or self._note(individual):
                break
        else:
            assert first is not None
            individual, self._allow_duplicates = first, True
        self.num_made += 1
        return individual

    def _note(self, individual: Individual) -> bool:
        """Tell whether the configuration is new, and remember it."""
        config = individual.config
        key = (*config, *typed(config.values()))
        known = key in self._seen
        self._seen.add(key)
        return not known


def _repeat(make: Callable[[], Genes], number: int) -> Iterator[Genes]:
    return (make() for _ in range(number))

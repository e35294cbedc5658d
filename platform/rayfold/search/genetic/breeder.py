"""Makes individuals: random ones, and children of a population."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain

import numpy as np

from rayfold.results import Config, Mode
from rayfold.search.genetic.operators import Genes, Individual, build_toolbox
from rayfold.space import SearchSpace
from rayfold.space.values import typed

NUM_TRIES = 10
"""Attempts to breed a child with a new configuration; then as many with stronger mutation."""

NUM_DRAWS = 64
"""Attempts to draw a new configuration at random."""


class Breeder:
    """Makes the individuals of a search, numbered in their order.

    Without duplicates, an individual with a known configuration is replaced. It is bred up to
    ``NUM_TRIES`` times; then as often with every gene mutated as widely as at the start; then
    drawn at random up to ``NUM_DRAWS`` times. If none of this finds a new configuration, the space
    is nearly exhausted: the first attempt is used, and duplicates are allowed from then on.

    Args:
        space: Where to search.
        mode: Whether lower or higher scores are fitter.
        generator: Source of all random numbers.
        mutation_probability: Probability that a gene of a child mutates.
        allow_duplicates: Whether a configuration may be made twice.
        immigrants: Probability that a child is drawn at random instead.

    Attributes:
        num_made: Number of individuals made so far.
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
        """Return the individual of a configuration, which will not be made again."""
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
            progress: ``g/G`` in [0, 1); mutations become narrower as it grows.
            by_sample: Whether tournaments are over a quarter of the population, instead of two.
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
        """Return that many of the population, the fittest first."""
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

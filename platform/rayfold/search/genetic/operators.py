"""The operators of the genetic search, as formulas and as a DEAP toolbox.

Genes are coordinates of the unit cube, so each ranges from ``p_min = 0`` to ``p_max = 1``. The
encoding handles log scales, integers and categories. DEAP has neither the two operators nor a
tournament of distinct individuals, and it draws from Python's global generator. The operators here
draw from the generator that the toolbox is made with.

A gene is active if the individual's configuration holds its hyperparameter. Inactive genes say
nothing about the score, so they do not influence children.

References:
    Michalewicz, "Genetic Algorithms + Data Structures = Evolution Programs", 1996 (non-uniform
    mutation).
    Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019,
    arXiv 1802.01548 (tournaments over a sample).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from deap import base
from numpy.typing import NDArray

from rayfold.results import Config, Mode
from rayfold.space import SearchSpace

Genes = NDArray[np.float64]
"""Coordinates in [0, 1], shape ``(d,)``: one gene per hyperparameter."""

Active = NDArray[np.bool_]
"""Which genes count, shape ``(d,)``."""


class MinimizedFitness(base.Fitness):  # type: ignore[misc]  # DEAP has no types
    """A fitness in DEAP's sense that grows as the score falls."""

    weights = (-1.0,)


class MaximizedFitness(base.Fitness):  # type: ignore[misc]  # DEAP has no types
    """A fitness that grows with the score."""

    weights = (1.0,)


@dataclass(eq=False)
class Individual:
    """One member of a population.

    Attributes:
        number: Its place in the order of suggestion, counted from 0.
        genes: Its chromosome, shape ``(d,)``; inactive genes are 0.5.
        config: The configuration that the genes encode.
        active: Which genes its configuration holds, shape ``(d,)``.
        fitness: Empty until its score is known.
    """

    number: int
    genes: Genes
    config: Config
    active: Active
    fitness: base.Fitness


def crossover(fitter: Genes, other: Genes, r: Genes) -> Genes:
    """Return a child on the far side of the fitter parent: ``r (p_A - p_B) + p_A``, clipped.

    Args:
        fitter: Genes ``p_A`` of the fitter parent, shape ``(d,)``.
        other: Genes ``p_B`` of the other parent, shape ``(d,)``.
        r: Uniform random numbers in (0, 1), one per gene.
    """
    child: Genes = np.clip(r * (fitter - other) + fitter, 0.0, 1.0)
    return child


def mutation(genes: Genes, r1: Genes, r2: Genes, *, progress: float) -> Genes:
    """Return the genes, each moved towards one end of its range, by less as the search advances.

    ``m = (1 - r1 ** ((1 - g/G) ** 3)) * ((1 - p) if r2 > 0.5 else (0 - p))`` is added to each.

    Args:
        genes: Genes ``p`` of the child, shape ``(d,)``.
        r1: Uniform random numbers in (0, 1), one per gene: how far.
        r2: The same: which way.
        progress: ``g/G`` in [0, 1), for generation g of G.
    """
    distance = np.where(r2 > 0.5, 1.0 - genes, 0.0 - genes)
    moved: Genes = genes + (1.0 - r1 ** ((1.0 - progress) ** 3)) * distance
    return np.clip(moved, 0.0, 1.0)  # only rounding is left to clip


def inherited(crossed: Genes, fitter: Individual, other: Individual, fresh: Genes) -> Genes:
    """Return a child's genes; only genes that are active in both parents are crossed.

    A gene that is active in one parent is copied from it. A gene that is active in neither is
    drawn anew.

    Args:
        crossed: What ``crossover`` makes of the parents, shape ``(d,)``.
        fitter: The fitter parent.
        other: The other one.
        fresh: Uniform random numbers, shape ``(d,)``.
    """
    alone = np.where(fitter.active, fitter.genes, np.where(other.active, other.genes, fresh))
    genes: Genes = np.where(fitter.active & other.active, crossed, alone)
    return genes


def rank(individual: Individual) -> tuple[tuple[float, ...], int]:
    """Return a key that is greatest for the fittest; ties go to the earliest suggestion."""
    return individual.fitness.wvalues, -individual.number


def distinct_pair(population: Sequence[Individual], u1: float, u2: float) -> list[Individual]:
    """Return two different individuals; every pair is equally likely.

    Args:
        population: At least two individuals.
        u1: Uniform random number in [0, 1), for the first.
        u2: The same, for the second among the rest.
    """
    first = int(u1 * len(population))
    second = int(u2 * (len(population) - 1))
    return [population[first], population[second + (second >= first)]]


def sample(population: Sequence[Individual], keys: Genes) -> list[Individual]:
    """Return a quarter of the population, at least two; every choice is equally likely.

    Args:
        population: At least two individuals.
        keys: Uniform random numbers, one per individual; the lowest are chosen.
    """
    size = max(2, len(population) // 4)
    return [population[place] for place in np.argsort(keys, kind="stable")[:size]]


def build_toolbox(
    generator: np.random.Generator, *, space: SearchSpace, mode: Mode
) -> base.Toolbox:
    """Return DEAP's toolbox with the operators registered, all drawing from ``generator``.

    * ``draw()``: random genes.
    * ``individual(number, genes)``: an individual with these genes, without a fitness.
    * ``tournament(population)``: the fitter of two distinct individuals.
    * ``sample_tournament(population)``: the fittest of a quarter of the population.
    * ``select(population, tournament)``: two distinct parents, each from a tournament, the
      fitter one first.
    * ``mate(fitter, other)``: genes of a child, by ``crossover`` and ``inherited``.
    * ``mutate(genes, progress=g/G, probability=p)``: the genes moved, by ``mutation``, each with
      probability p.
    * ``keep(population, k)``: the k fittest, the fittest first.

    Args:
        generator: Source of all random numbers.
        space: The space that the genes encode.
        mode: Whether lower or higher scores are fitter.
    """
    fitness = MinimizedFitness if mode == "min" else MaximizedFitness
    toolbox = base.Toolbox()
    toolbox.register("draw", generator.random, space.dimension)
    toolbox.register("individual", _individual, space=space, fitness=fitness)
    toolbox.register("tournament", _tournament, generator=generator)
    toolbox.register("sample_tournament", _sample_tournament, generator=generator)
    toolbox.register("select", _select)
    toolbox.register("mate", _mate, generator=generator)
    toolbox.register("mutate", _mutate, generator=generator)
    toolbox.register("keep", _keep)
    return toolbox


def _individual(number: int, genes: Genes, *, space: SearchSpace, fitness: Any) -> Individual:
    config = space.decode(genes)
    active = np.array([name in config for name in space.names])
    return Individual(number, np.where(active, genes, 0.5), config, active, fitness())


def _tournament(population: Sequence[Individual], *, generator: np.random.Generator) -> Individual:
    u1, u2 = generator.random(2)
    return max(distinct_pair(population, u1, u2), key=rank)


def _sample_tournament(
    population: Sequence[Individual], *, generator: np.random.Generator
) -> Individual:
    return max(sample(population, generator.random(len(population))), key=rank)


def _select(
    population: Sequence[Individual], tournament: Callable[[Sequence[Individual]], Individual]
) -> list[Individual]:
    first = tournament(population)
    if len(population) == 2:  # the fitter one wins every tournament; the other is its partner
        second = population[population[0] is first]
    else:
        second = tournament(population)
        while second is first:
            second = tournament(population)
    return sorted([first, second], key=rank, reverse=True)


def _mate(fitter: Individual, other: Individual, *, generator: np.random.Generator) -> Genes:
    size = len(fitter.genes)
    crossed = crossover(fitter.genes, other.genes, _uniform(generator, size))
    if np.all(fitter.active | other.active):
        return inherited(crossed, fitter, other, crossed)  # nothing has to be drawn
    return inherited(crossed, fitter, other, generator.random(size))


def _mutate(
    genes: Genes, *, generator: np.random.Generator, progress: float, probability: float
) -> Genes:
    size = len(genes)
    moved = mutation(
        genes, _uniform(generator, size), _uniform(generator, size), progress=progress
    )
    if probability == 1.0:
        return moved
    return np.where(generator.random(size) < probability, moved, genes)


def _keep(population: Sequence[Individual], k: int) -> list[Individual]:
    return sorted(population, key=rank, reverse=True)[:k]


def _uniform(generator: np.random.Generator, size: int) -> Genes:
    """Return uniform numbers in the open interval (0, 1); the generator itself may return 0."""
    return np.maximum(generator.random(size), np.finfo(np.float64).tiny)

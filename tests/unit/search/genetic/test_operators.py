import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from deap import base

from rayfold.results import Mode
from rayfold.search.genetic.operators import (
    Individual,
    build_toolbox,
    crossover,
    distinct_pair,
    inherited,
    mutation,
    rank,
    sample,
)
from rayfold.space import Choice, Float, SearchSpace

LINE = SearchSpace({"x": Float(0.0, 1.0)})
SQUARE = SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
OPTIMIZERS = SearchSpace(
    {
        "optimizer.momentum": Float(0.0, 1.0, when={"optimizer.name": "sgd"}),
        "optimizer.name": Choice("sgd", "adamw"),
        "optimizer.beta": Float(0.0, 1.0, when={"optimizer.name": "adamw"}),
    }
)
"""A name below 0.5 is sgd and has a momentum; from there on it is adamw and has a beta."""


class Scripted(np.random.Generator):
    """A generator that gives the numbers it was made with, and no more."""

    def __init__(self, numbers: Sequence[float]) -> None:
        super().__init__(np.random.PCG64(0))
        self.numbers = list(numbers)

    def random(self, size: Any = None) -> Any:  # type: ignore[override]
        assert size <= len(self.numbers)
        drawn, self.numbers = self.numbers[:size], self.numbers[size:]
        return np.array(drawn)


def toolbox_of(*numbers: float, mode: Mode = "min", space: SearchSpace = LINE) -> base.Toolbox:
    return build_toolbox(Scripted(numbers), space=space, mode=mode)


def individual_of(*genes: float, space: SearchSpace) -> Individual:
    individual: Individual = toolbox_of(space=space).individual(0, np.array(genes))
    return individual


def population_of(*scores: float, mode: Mode = "min") -> list[Individual]:
    toolbox = toolbox_of(mode=mode)
    population = [toolbox.individual(number, np.array([0.5])) for number in range(len(scores))]
    for individual, score in zip(population, scores, strict=True):
        individual.fitness.values = (score,)
    return population


# Crossover: r (p_A - p_B) + p_A


def test_a_child_lies_beyond_the_fitter_parent() -> None:
    """0.5 (0.6 - 0.4) + 0.6 = 0.7; 0.25 (0.2 - 0.6) + 0.2 = 0.1; 0.9 (0.3 - 0.3) + 0.3 = 0.3."""
    child = crossover(
        np.array([0.6, 0.2, 0.3]), np.array([0.4, 0.6, 0.3]), np.array([0.5, 0.25, 0.9])
    )
    np.testing.assert_allclose(child, [0.7, 0.1, 0.3], atol=1e-12)


def test_a_child_is_clipped_to_the_range() -> None:
    """0.8 (0.9 - 0.1) + 0.9 = 1.54 and 0.8 (0.1 - 0.9) + 0.1 = -0.54."""
    child = crossover(np.array([0.9, 0.1]), np.array([0.1, 0.9]), np.array([0.8, 0.8]))
    assert child.tolist() == [1.0, 0.0]


def test_crossover_draws_anew_for_each_gene() -> None:
    toolbox = toolbox_of(0.5, 0.25, space=SQUARE)
    fitter, other = (individual_of(p, p, space=SQUARE) for p in (0.6, 0.4))
    child = toolbox.mate(fitter, other)
    np.testing.assert_allclose(child, [0.7, 0.65], atol=1e-12)


# Mutation: (1 - r1 ** ((1 - g/G) ** 3)) * (p_max - p if r2 > 0.5 else p_min - p)


def test_mutation_moves_towards_the_end_that_r2_names() -> None:
    """At g = 0 the exponent is 1: (1 - 0.75) (1 - 0.2) = 0.2 up, (1 - 0.75) 0.2 = 0.05 down."""
    moved = mutation(
        np.array([0.2, 0.2]), np.array([0.75, 0.75]), np.array([0.51, 0.5]), progress=0.0
    )
    np.testing.assert_allclose(moved, [0.4, 0.15], atol=1e-12)


def test_mutation_narrows_with_the_cube_of_what_is_left() -> None:
    """At g/G = 1/2 the exponent is 1/8: 1 - 0.00390625 ** (1/8) = 1 - 1/2, half of 0.8 upwards."""
    moved = mutation(np.array([0.2]), np.array([2.0**-8]), np.array([0.9]), progress=0.5)
    np.testing.assert_allclose(moved, [0.6], atol=1e-12)


def test_the_last_generations_move_only_locally() -> None:
    """At g/G = 9/10 the exponent is 1/1000: 1 - 0.5 ** 0.001 = 0.000693, of 0.8 upwards."""
    moved = mutation(np.array([0.2]), np.array([0.5]), np.array([0.9]), progress=0.9)
    np.testing.assert_allclose(moved, [0.2 + 0.8 * 0.000692907], atol=1e-8)


def test_mutation_never_leaves_the_range() -> None:
    tiny = np.finfo(np.float64).tiny
    genes = np.linspace(0.0, 1.0, 101)
    for towards in (0.1, 0.9):
        moved = mutation(genes, np.full(101, tiny), np.full(101, towards), progress=0.0)
        assert np.all((moved >= 0.0) & (moved <= 1.0))
        np.testing.assert_allclose(moved, np.round(towards), atol=1e-12)


def test_mutation_draws_how_far_and_which_way_for_each_gene() -> None:
    toolbox = toolbox_of(0.75, 0.5, 0.9, 0.1)
    moved = toolbox.mutate(np.array([0.2, 0.2]), progress=0.0, probability=1.0)
    np.testing.assert_allclose(moved, [0.4, 0.1], atol=1e-12)


def test_the_operators_leave_the_parents_alone() -> None:
    fitter, other = (individual_of(p, space=LINE) for p in (0.6, 0.4))
    child = toolbox_of(0.5).mate(fitter, other)
    toolbox_of(0.5, 0.9).mutate(child, progress=0.0, probability=1.0)
    assert (fitter.genes.tolist(), other.genes.tolist()) == ([0.6], [0.4])


def test_a_drawn_zero_is_kept_out_of_the_open_interval() -> None:
    """From 0 a gene would leap to the end even in the last generation; 1e-308 ** 0.001 = 0.49."""
    moved = toolbox_of(0.0, 0.9).mutate(np.array([0.0]), progress=0.9, probability=1.0)
    assert moved[0] == pytest.approx(0.51, abs=0.01)


def test_each_gene_is_mutated_with_its_probability() -> None:
    """Both would move from 0.2 to 0.4; the last numbers, 0.29 and 0.3, are drawn for that."""
    toolbox = toolbox_of(0.75, 0.75, 0.9, 0.9, 0.29, 0.3)
    moved = toolbox.mutate(np.array([0.2, 0.2]), progress=0.0, probability=0.3)
    np.testing.assert_allclose(moved, [0.4, 0.2], atol=1e-12)


# Genes that are active


def test_inactive_genes_are_blank() -> None:
    individual = individual_of(0.9, 0.7, 0.2, space=OPTIMIZERS)
    assert individual.config == {"optimizer.name": "adamw", "optimizer.beta": 0.2}
    assert individual.active.tolist() == [False, True, True]
    assert individual.genes.tolist() == [0.5, 0.7, 0.2]


def test_a_gene_is_crossed_only_where_both_parents_have_it() -> None:
    """Both, the fitter one, the other one, and neither has it."""
    fitter, other = (individual_of(0.0, space=LINE) for _ in range(2))
    fitter.genes, fitter.active = np.full(4, 0.2), np.array([True, True, False, False])
    other.genes, other.active = np.full(4, 0.3), np.array([True, False, True, False])
    genes = inherited(np.full(4, 0.1), fitter, other, np.full(4, 0.4))
    assert genes.tolist() == [0.1, 0.2, 0.3, 0.4]


def test_an_inactive_gene_of_a_parent_does_not_push_the_child() -> None:
    """Parents of either kind: only the name is crossed, 0.5 (0.4 - 0.6) + 0.4 = 0.3."""
    sgd = individual_of(0.9, 0.4, 0.0, space=OPTIMIZERS)
    adamw = individual_of(0.0, 0.6, 0.8, space=OPTIMIZERS)
    child = toolbox_of(0.5, 0.5, 0.5, space=OPTIMIZERS).mate(sgd, adamw)
    np.testing.assert_allclose(child, [0.9, 0.3, 0.8], atol=1e-12)


def test_a_gene_that_neither_parent_has_is_drawn_anew() -> None:
    """Two of adamw: name 0.5 (0.6 - 0.9) + 0.6 = 0.45 makes it sgd, and its momentum is new."""
    fitter = individual_of(0.1, 0.6, 0.8, space=OPTIMIZERS)
    other = individual_of(0.2, 0.9, 0.8, space=OPTIMIZERS)
    toolbox = toolbox_of(0.5, 0.5, 0.5, 0.25, 0.99, 0.99, space=OPTIMIZERS)
    child = toolbox.individual(1, toolbox.mate(fitter, other))
    assert child.config == {"optimizer.name": "sgd", "optimizer.momentum": 0.25}
    np.testing.assert_allclose(child.genes, [0.25, 0.45, 0.5], atol=1e-12)


# Selection


def chosen(population: list[Individual], toolbox: base.Toolbox) -> list[Individual]:
    parents: list[Individual] = toolbox.select(population, toolbox.tournament)
    return parents


@pytest.mark.parametrize(
    ("u1", "u2", "pair"),
    [
        (0.0, 0.0, [0, 1]),
        (0.0, 0.99, [0, 2]),
        (0.5, 0.0, [1, 0]),
        (0.5, 0.5, [1, 2]),
        (0.99, 0.0, [2, 0]),
        (0.99, 0.99, [2, 1]),
    ],
)
def test_a_tournament_is_between_two_distinct_individuals(
    u1: float, u2: float, pair: list[int]
) -> None:
    population = population_of(3.0, 2.0, 1.0)
    assert [individual.number for individual in distinct_pair(population, u1, u2)] == pair


def test_every_pair_is_equally_likely() -> None:
    population = population_of(0.0, 0.0, 0.0, 0.0)
    places = (np.arange(12) + 0.5) / 12
    pairs = [
        tuple(individual.number for individual in distinct_pair(population, u1, u2))
        for u1 in places
        for u2 in places
    ]
    assert len(set(pairs)) == 12
    assert all(pairs.count(pair) == 12 for pair in pairs)


@pytest.mark.parametrize(("mode", "winner"), [("min", 1), ("max", 0)])
def test_the_fitter_one_wins_a_tournament(mode: Mode, winner: int) -> None:
    population = population_of(-1.0, -2.0, mode=mode)
    assert toolbox_of(0.0, 0.0).tournament(population).number == winner
    assert toolbox_of(0.9, 0.0).tournament(population).number == winner


def test_parents_are_ordered_by_fitness() -> None:
    """The first tournament is between 2 and 3 (2 wins), the second between 0 and 1 (0 wins)."""
    population = population_of(1.0, 2.0, 3.0, 4.0)
    parents = chosen(population, toolbox_of(0.5, 0.99, 0.0, 0.0))
    assert [parent.number for parent in parents] == [0, 2]


def test_the_same_winner_is_drawn_again_until_the_parents_differ() -> None:
    """0 beats 1, 0 beats 2, 0 beats 3, then 1 beats 2."""
    population = population_of(1.0, 2.0, 3.0, 4.0)
    parents = chosen(population, toolbox_of(0.0, 0.0, 0.0, 0.5, 0.0, 0.99, 0.25, 0.5))
    assert [parent.number for parent in parents] == [0, 1]


@pytest.mark.parametrize("scores", [(1.0, 2.0), (2.0, 1.0), (1.0, 1.0), (math.inf, math.inf)])
def test_two_individuals_are_both_parents(scores: tuple[float, float]) -> None:
    population = population_of(*scores)
    parents = chosen(population, toolbox_of(0.0, 0.0))
    assert [parent.number for parent in parents] == ([1, 0] if scores == (2.0, 1.0) else [0, 1])


@pytest.mark.parametrize(("mode", "order"), [("min", [2, 0, 3, 1, 4]), ("max", [1, 4, 0, 3, 2])])
def test_ranking_is_by_value_with_ties_in_order_of_suggestion(
    mode: Mode, order: list[int]
) -> None:
    population = population_of(-1.0, 0.25, -1.5, -1.0, 0.25, mode=mode)
    assert [
        individual.number for individual in sorted(population, key=rank, reverse=True)
    ] == order
    assert [individual.number for individual in toolbox_of().keep(population, 2)] == order[:2]


def test_close_scores_are_told_apart() -> None:
    population = population_of(0.98631, 0.98632, 0.98630, mode="max")
    assert toolbox_of().keep(population, 1)[0].number == 1


@pytest.mark.parametrize(("size", "num_drawn"), [(2, 2), (3, 2), (11, 2), (12, 3), (100, 25)])
def test_a_quarter_is_sampled_but_two_at_least(size: int, num_drawn: int) -> None:
    population = population_of(*[0.0] * size)
    keys = np.linspace(1.0, 0.0, size)
    numbers = [individual.number for individual in sample(population, keys)]
    assert numbers == list(range(size))[: -num_drawn - 1 : -1]


@pytest.mark.parametrize(("mode", "winner"), [("min", 2), ("max", 4)])
def test_the_fittest_of_the_sample_wins_its_tournament(mode: Mode, winner: int) -> None:
    """Twelve individuals; 0.1, 0.2 and 0.3 are drawn for those with the scores 5, 9 and 7."""
    population = population_of(0.0, 0.0, 5.0, 0.0, 9.0, 7.0, *[99.0] * 6, mode=mode)
    keys = [0.9, 0.9, 0.1, 0.9, 0.2, 0.3, *[0.9] * 6]
    assert toolbox_of(*keys, mode=mode).sample_tournament(population).number == winner


def test_an_individual_has_no_fitness_at_first() -> None:
    toolbox = toolbox_of(0.25)
    individual = toolbox.individual(3, toolbox.draw())
    assert individual.number == 3
    assert individual.genes.tolist() == [0.25]
    assert not individual.fitness.valid

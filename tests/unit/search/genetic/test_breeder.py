from collections import Counter
from typing import Any

import numpy as np
import pytest

from rayfold.search.genetic.breeder import Breeder
from rayfold.search.genetic.operators import Individual
from rayfold.space import Choice, Float, Int, SearchSpace

LINE = SearchSpace({"x": Float(0.0, 1.0)})
DOZEN = SearchSpace({"n": Int(1, 4), "c": Choice("a", "b", "c")})


def make(space: SearchSpace = LINE, **changes: Any) -> Breeder:
    arguments: dict[str, Any] = {
        "mutation_probability": 1.0,
        "allow_duplicates": True,
        "immigrants": 0.0,
    }
    return Breeder(space, "min", np.random.default_rng(7), **{**arguments, **changes})


def parents(breeder: Breeder, number: int) -> list[Individual]:
    """Return random individuals, the first of them the fittest."""
    population = [breeder.random() for _ in range(number)]
    for individual in population:
        individual.fitness.values = (float(individual.number),)
    return population


def keys(individuals: list[Individual]) -> Counter[tuple[object, ...]]:
    return Counter(tuple(individual.config.values()) for individual in individuals)


def test_individuals_are_numbered_in_their_order() -> None:
    breeder = make(allow_duplicates=False)
    population = parents(breeder, 3)
    child = breeder.child(population, progress=0.5)
    assert [individual.number for individual in [*population, child]] == [0, 1, 2, 3]
    assert breeder.num_made == 4


def test_a_child_is_crossed_then_mutated() -> None:
    """The draws repeated by hand: two tournaments would be one here, then r, r1, r2."""
    breeder = make()
    population = parents(breeder, 2)
    child = breeder.child(population, progress=0.5)
    generator = np.random.default_rng(7)
    a, b, _, _, r, r1, r2 = generator.random(7)  # the first is the fitter
    p = min(max(r * (a - b) + a, 0.0), 1.0)
    p += (1 - r1**0.125) * ((1 - p) if r2 > 0.5 else (0 - p))
    assert child.config["x"] == pytest.approx(p)


def test_each_gene_is_mutated_with_its_probability() -> None:
    """Never, so that a child of two like parents is like them."""
    breeder = make(mutation_probability=0.0)
    population = parents(breeder, 2)
    population[1].genes = population[0].genes
    assert breeder.child(population, progress=0.0).config == population[0].config


@pytest.mark.parametrize(
    ("immigrants", "low", "high"), [(0.0, 0, 0), (0.1, 6, 14), (1.0, 100, 100)]
)
def test_immigrants_are_drawn_from_the_whole_space(immigrants: float, low: int, high: int) -> None:
    """Of 100 children without mutation; those of two like parents are where these are."""
    breeder = make(mutation_probability=0.0, immigrants=immigrants)
    population = parents(breeder, 2)
    population[1].genes = population[0].genes
    children = [breeder.child(population, progress=0.9) for _ in range(100)]
    num_elsewhere = sum(child.config != population[0].config for child in children)
    assert low <= num_elsewhere <= high


# Duplicates


def test_random_individuals_differ_as_long_as_they_can() -> None:
    """Twelve configurations, then each again."""
    breeder = make(DOZEN, allow_duplicates=False)
    assert set(keys([breeder.random() for _ in range(12)]).values()) == {1}
    assert len(keys([breeder.random() for _ in range(12)])) > 1


def test_children_differ_as_long_as_they_can() -> None:
    """Like parents without mutation have one child; nine others are found nevertheless."""
    breeder = make(DOZEN, allow_duplicates=False, mutation_probability=0.0)
    population = parents(breeder, 2)
    children = [breeder.child(population, progress=0.9) for _ in range(10)]
    assert set(keys(population + children).values()) == {1}


def test_an_exhausted_space_gives_children_as_they_were_bred_first() -> None:
    breeder = make(DOZEN, allow_duplicates=False, mutation_probability=0.0)
    population = parents(breeder, 12)[:2]
    population[1].genes = population[0].genes
    children = [breeder.child(population, progress=0.9) for _ in range(5)]
    assert [child.config for child in children] == [population[0].config] * 5
    assert breeder.num_made == 17


def test_a_known_child_is_bred_again_before_it_is_mutated_harder() -> None:
    """In its own corner: at g/G = 0.7 half of the mutations move less than 2 % of the way."""
    breeder = make(SearchSpace({"n": Int(0, 999)}), allow_duplicates=False)
    population = parents(breeder, 2)
    population[1].genes = population[0].genes
    home = int(population[0].config["n"])
    children = [breeder.child(population, progress=0.7) for _ in range(5)]
    assert all(abs(int(child.config["n"]) - home) < 150 for child in children)
    assert set(keys([*population, *children]).values()) == {1}


def test_duplicates_may_be_allowed() -> None:
    breeder = make(SearchSpace({"c": Choice("a", "b")}))
    assert len(keys([breeder.random() for _ in range(20)])) == 2


def test_values_of_different_types_are_different() -> None:
    """True equals 1 in Python, but not as a hyperparameter."""
    breeder = make(SearchSpace({"c": Choice(True, 1, 1.0)}), allow_duplicates=False)
    kinds = {type(breeder.random().config["c"]) for _ in range(3)}
    assert kinds == {bool, int, float}


# Tournaments


def test_by_sample_only_the_fittest_have_children() -> None:
    """The fittest half of a hundred lies left, the other right, and children beyond the fitter.

    Both parents of a child on the right are of that half: one pair in sixteen among two, none
    among 25.
    """
    num_right = {}
    for by_sample in (False, True):
        breeder = make(mutation_probability=0.0)
        population = parents(breeder, 100)
        for individual in population:
            individual.genes = np.array([0.1 if individual.number < 50 else 0.9])
        children = [
            breeder.child(population, progress=0.5, by_sample=by_sample) for _ in range(200)
        ]
        num_right[by_sample] = sum(float(child.config["x"]) > 0.5 for child in children)
    assert 5 <= num_right[False] <= 25
    assert num_right[True] == 0

import copy
import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rayfold.results import Config, Mode
from rayfold.search import Genetic, Searcher, Suggestion
from rayfold.search.genetic.operators import Individual
from rayfold.space import Choice, Float, Int, SearchSpace

UNIT = SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
MIXED = SearchSpace(
    {
        "rate": Float(1e-6, 1.0, log=True),
        "layers": Int(1, 4),
        "name": Choice("sgd", "adamw", "lion"),
        "momentum": Float(0.0, 1.0, when={"name": "sgd"}),
    }
)


def started(space: SearchSpace = UNIT, *, mode: Mode = "min", **arguments: Any) -> Genetic:
    searcher = Genetic(preset="nnlo", **arguments)
    searcher.start(space, mode=mode)
    return searcher


def generation(searcher: Searcher) -> list[Suggestion]:
    """Return everything that is suggested before results must come in."""
    return list(iter(searcher.suggest, None))


def population_of(searcher: Genetic) -> list[Individual]:
    return searcher._form.population


def run(searcher: Searcher, score: Callable[[Config], float]) -> list[list[Suggestion]]:
    """Run to the end; return the suggestions of each generation."""
    generations = []
    while suggestions := generation(searcher):
        generations.append(suggestions)
        for suggestion in suggestions:
            searcher.observe(suggestion.id, score=score(suggestion.config))
    assert searcher.finished
    return generations


def sphere(config: Config) -> float:
    return sum((float(value) - 0.3) ** 2 for value in config.values())


# Generations


def test_a_generation_waits_for_the_results_of_the_one_before() -> None:
    searcher = started(population=4, generations=3)
    first = generation(searcher)
    assert [suggestion.id for suggestion in first] == ["0000", "0001", "0002", "0003"]
    for suggestion in first[:3]:
        searcher.observe(suggestion.id, score=1.0)
        assert searcher.suggest() is None
        assert not searcher.finished
    searcher.observe("0003", score=1.0)
    assert [suggestion.id for suggestion in generation(searcher)] == ["0004", "0005", "0006"]


def test_elites_are_not_trained_again() -> None:
    """10 individuals, 2 of them elites: generations of 10, 8 and 8."""
    searcher = started(population=10, generations=3)
    assert searcher.num_elites == 2
    assert [len(suggestions) for suggestions in run(searcher, sphere)] == [10, 8, 8]
    assert searcher.capacity == 26


def test_an_elite_keeps_its_score_from_generation_to_generation() -> None:
    """The first suggestion stays the best: it is the elite of all five generations to come."""
    searcher = started(population=2, generations=6)
    for number in range(7):
        suggestion = searcher.suggest()
        assert suggestion is not None
        searcher.observe(suggestion.id, score=float(number))
        elite = population_of(searcher)[0]
        assert (elite.number, elite.fitness.values) == (0, (0.0,))
    assert searcher.finished


@pytest.mark.parametrize(
    ("population", "fraction", "num_elites"),
    [
        (2, 0.2, 1),
        (3, 0.2, 1),
        (4, 0.2, 1),
        (5, 0.2, 1),
        (9, 0.2, 1),
        (10, 0.2, 2),
        (16, 0.2, 3),
        (100, 0.29, 29),
        (2, 0.99, 1),
        (3, 0.99, 2),
    ],
)
def test_a_fifth_is_kept_but_never_none_and_never_everyone(
    population: int, fraction: float, num_elites: int
) -> None:
    searcher = Genetic(population=population, elite_fraction=fraction)
    assert searcher.num_elites == num_elites


@pytest.mark.parametrize("population", [2, 3, 4, 5, 6])
def test_small_populations_bring_forth_children(population: int) -> None:
    searcher = started(population=population, generations=4)
    generations = run(searcher, sphere)
    assert [len(suggestions) for suggestions in generations] == [population] + [population - 1] * 3
    configs = [tuple(s.config.values()) for suggestions in generations for s in suggestions]
    assert len(set(configs)) == len(configs)


def test_a_single_generation_is_a_random_search() -> None:
    searcher = started(population=5, generations=1, random_seed=7)
    (suggestions,) = run(searcher, sphere)
    generator = np.random.default_rng(7)
    assert [s.config for s in suggestions] == [UNIT.sample(generator) for _ in range(5)]


def test_the_generation_is_told() -> None:
    searcher = Genetic(preset="nnlo", population=3, generations=2)
    assert searcher.generation == 0
    searcher.start(UNIT, mode="min")
    for suggestion in generation(searcher):
        assert searcher.generation == 0
        searcher.observe(suggestion.id, score=1.0)
    searcher.suggest()
    assert searcher.generation == 1


def test_results_may_come_in_any_order() -> None:
    forwards, backwards = started(population=6), started(population=6)
    for _ in range(8):
        suggestions = generation(forwards)
        assert suggestions == generation(backwards)
        for suggestion in suggestions:
            forwards.observe(suggestion.id, score=sphere(suggestion.config))
        for suggestion in reversed(suggestions):
            backwards.observe(suggestion.id, score=sphere(suggestion.config))
    assert forwards.best == backwards.best


def test_a_searcher_can_be_copied_in_the_middle() -> None:
    searcher = started(population=4, generations=4)
    for suggestion in generation(searcher):
        searcher.observe(suggestion.id, score=sphere(suggestion.config))
    searcher.suggest()
    assert run_on(copy.deepcopy(searcher)) == run_on(searcher)


def run_on(searcher: Genetic) -> list[Suggestion]:
    searcher.observe("0004", score=0.5)
    return generation(searcher)


def test_the_first_child_follows_the_formulas() -> None:
    """Two parents, the draws repeated by hand: r, then r1, then r2, at g/G = 1/4."""
    searcher = started(population=2, generations=4, random_seed=5)
    for suggestion, score in zip(generation(searcher), (2.0, 1.0), strict=True):
        searcher.observe(suggestion.id, score=score)
    child = searcher.suggest()
    assert child is not None

    generator = np.random.default_rng(5)
    b, a = generator.random(2), generator.random(2)  # the second has the lower score
    generator.random(2)  # one tournament; the partner is the other one
    r, r1, r2 = generator.random(2), generator.random(2), generator.random(2)
    for gene, name in enumerate(("x", "y")):
        p = min(max(r[gene] * (a[gene] - b[gene]) + a[gene], 0.0), 1.0)
        reach = 1 - r1[gene] ** (0.75**3)
        p += reach * ((1 - p) if r2[gene] > 0.5 else (0 - p))
        assert child.config[name] == pytest.approx(p)


# The faults of the original code


def test_fitness_is_not_rounded() -> None:
    """Scores that agree in their whole parts keep their order."""
    searcher = started(mode="max", population=5, generations=2)
    for suggestion, score in zip(generation(searcher), (0.91, 0.94, 0.92, 0.93, 0.9), strict=True):
        searcher.observe(suggestion.id, score=score)
    searcher.suggest()
    assert [individual.number for individual in population_of(searcher)[:1]] == [1]


@pytest.mark.parametrize(("mode", "elite"), [("min", 1), ("max", 2)])
def test_negative_scores_are_not_ranked_backwards(mode: Mode, elite: int) -> None:
    searcher = started(mode=mode, population=4, generations=2)
    for suggestion, score in zip(generation(searcher), (-5.0, -9.0, -1.0, -3.0), strict=True):
        searcher.observe(suggestion.id, score=score)
    searcher.suggest()
    assert population_of(searcher)[0].number == elite


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_nan_does_not_freeze_the_generation(mode: Mode) -> None:
    searcher = started(mode=mode, population=4, generations=3)
    for suggestion in generation(searcher):
        searcher.observe(suggestion.id, score=math.nan)
    assert len(generation(searcher)) == 3


@pytest.mark.parametrize("mode", ["min", "max"])
def test_failed_trials_rank_last(mode: Mode) -> None:
    """The only trial with a score is the elite, however bad the score; the failed ones tie."""
    searcher = started(mode=mode, population=4, generations=2)
    worst = 1e300 if mode == "min" else -1e300
    for suggestion in generation(searcher):
        failed = suggestion.id != "0002"
        searcher.observe(suggestion.id, score=None if failed else worst, failed=failed)
    population = population_of(searcher)
    searcher.suggest()
    assert population_of(searcher)[0].number == 2
    assert population[0].fitness == population[1].fitness == population[3].fitness


def test_categories_do_not_crash_and_all_are_reached() -> None:
    searcher = started(MIXED, population=12, generations=6)
    generations = run(searcher, lambda config: float(config["layers"]))
    configs = [s.config for suggestions in generations for s in suggestions]
    for config in configs:
        MIXED.check(config)
    assert {config["name"] for config in configs} == {"sgd", "adamw", "lion"}


@pytest.mark.parametrize("mode", ["min", "max"])
def test_integers_reach_both_bounds(mode: Mode) -> None:
    space = SearchSpace({"layers": Int(1, 40), "width": Int(8, 512, log=True)})
    searcher = started(space, mode=mode, population=16, generations=8)
    run(searcher, lambda config: float(config["layers"]) + float(config["width"]))
    assert searcher.best is not None
    low, high = {"layers": 1, "width": 8}, {"layers": 40, "width": 512}
    assert searcher.best[0].config == (low if mode == "min" else high)


def test_children_keep_to_the_log_scale() -> None:
    """Of the rates from 1e-6 to 1 half lie below 1e-3; on a linear scale a thousandth would.

    All fail, so that nothing pulls the children either way.
    """
    searcher = started(
        SearchSpace({"rate": Float(1e-6, 1.0, log=True)}), population=50, generations=5
    )
    rates = []
    while suggestions := generation(searcher):
        for suggestion in suggestions:
            searcher.observe(suggestion.id, failed=True)
            if searcher.generation > 0:
                rates.append(float(suggestion.config["rate"]))
    assert len(rates) == 160
    assert 0.25 < statistics.mean(rate < 1e-3 for rate in rates) < 0.75


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_best_is_the_truly_best_of_all_generations(mode: Mode) -> None:
    searcher = started(mode=mode, population=6, generations=5)
    generations = run(searcher, lambda config: math.sin(40 * float(config["x"])))
    pick = min if mode == "min" else max
    best = pick(
        (s for suggestions in generations for s in suggestions),
        key=lambda s: math.sin(40 * float(s.config["x"])),
    )
    assert searcher.best == (best, math.sin(40 * float(best.config["x"])))


def test_configurations_hold_what_is_active_in_every_generation() -> None:
    searcher = started(MIXED, population=8, generations=4)
    for _ in range(4):
        for suggestion in generation(searcher):
            searcher.observe(suggestion.id, score=1.0)
            assert ("momentum" in suggestion.config) == (suggestion.config["name"] == "sgd")
    assert all(individual.genes.shape == (4,) for individual in population_of(searcher))
    assert all(individual.fitness.valid for individual in population_of(searcher))

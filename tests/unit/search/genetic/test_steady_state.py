import math
from typing import Any

import numpy as np
import pytest

from rayfold.results import Mode
from rayfold.search import Genetic, Suggestion
from rayfold.space import Choice, Float, SearchSpace

UNIT = SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
PLAIN: dict[str, Any] = {"preset": "nnlo", "restart": False}
"""The original operators, without a barrier."""


def started(space: SearchSpace = UNIT, *, mode: Mode = "min", **arguments: Any) -> Genetic:
    """Return a searcher that restarts and does not age, unless told otherwise."""
    chosen = {"update": "steady_state", "ageing": False, "restart": True, **arguments}
    searcher = Genetic(**chosen)
    searcher.start(space, mode=mode)
    return searcher


def ask(searcher: Genetic) -> Suggestion:
    suggestion = searcher.suggest()
    assert suggestion is not None
    return suggestion


def tell(searcher: Genetic, *scores: float) -> None:
    """Ask for and score one configuration after another; NaN fails."""
    for score in scores:
        searcher.observe(ask(searcher).id, score=score)


def members(searcher: Genetic) -> list[int]:
    """Return the numbers of those who are bred from."""
    return [individual.number for individual in searcher._form.population]


# Asking


def test_it_never_waits() -> None:
    """Of 4 + 4 x 3 suggestions none has a result."""
    searcher = started(population=4, generations=5)
    assert [ask(searcher).id for _ in range(16)] == [f"{number:04d}" for number in range(16)]
    assert searcher.finished


def test_the_first_suggestions_are_random() -> None:
    """The first five however fast results come, and more until five are told."""
    generator = np.random.default_rng(7)
    searcher = started(population=5, random_seed=7)
    tell(searcher, 1.0, 2.0, 3.0, 4.0)
    assert ask(searcher).config == [UNIT.sample(generator) for _ in range(5)][-1]
    generator = np.random.default_rng(7)
    searcher = started(population=5, random_seed=7)
    out = [ask(searcher) for _ in range(8)]
    for suggestion in out[:4]:
        searcher.observe(suggestion.id, score=1.0)
    drawn = [UNIT.sample(generator) for _ in range(10)]
    assert [suggestion.config for suggestion in [*out, ask(searcher)]] == drawn[:9]
    searcher.observe(out[4].id, score=1.0)
    assert ask(searcher).config != drawn[9]


def test_the_first_child_follows_the_formulas() -> None:
    """With two of five told g/G is 2/5; the draws repeated by hand: r, then r1, then r2."""
    searcher = started(**PLAIN, population=2, generations=4, random_seed=5)
    assert searcher.capacity == 5
    tell(searcher, 2.0, 1.0)
    child = ask(searcher)

    generator = np.random.default_rng(5)
    b, a = generator.random(2), generator.random(2)  # the second has the lower score
    generator.random(2)  # one tournament; the partner is the other one
    r, r1, r2 = generator.random(2), generator.random(2), generator.random(2)
    for gene, name in enumerate(("x", "y")):
        p = min(max(r[gene] * (a[gene] - b[gene]) + a[gene], 0.0), 1.0)
        reach = 1 - r1[gene] ** (0.6**3)
        p += reach * ((1 - p) if r2[gene] > 0.5 else (0 - p))
        assert child.config[name] == pytest.approx(p)


def test_mutation_narrows_with_what_is_told_not_with_what_is_out() -> None:
    """Both are asked for the child of the same two parents, with the same draws to come."""
    children = []
    for num_out in (0, 1):
        searcher = started(**PLAIN, population=2, generations=4, random_seed=5)
        tell(searcher, 2.0, 1.0)
        before = searcher._breeder._generator.bit_generator.state
        for _ in range(num_out):
            searcher.suggest()
        searcher._breeder._generator.bit_generator.state = before
        children.append(ask(searcher).config)
    assert children[0] == children[1]


# The population


@pytest.mark.parametrize(("mode", "expected"), [("min", [2, 4, 1]), ("max", [5, 3, 0])])
def test_the_least_fit_makes_room(mode: Mode, expected: list[int]) -> None:
    """Of six scores the three best are bred from, the least fit of them first."""
    searcher = started(mode=mode, population=3)
    tell(searcher, 9.0, -5.0, 2.0, 7.0, 0.5, 5.0)
    assert members(searcher) == expected


def test_of_equals_the_earlier_stays() -> None:
    searcher = started(population=2)
    for _ in range(4):
        searcher.suggest()
    for id in ("0003", "0001", "0002", "0000"):
        searcher.observe(id, score=1.0)
    assert members(searcher) == [1, 0]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_failed_trials_are_the_worst(mode: Mode) -> None:
    worst = 1e300 if mode == "min" else -1e300
    searcher = started(mode=mode, population=2)
    tell(searcher, math.nan, worst, math.nan, math.nan)
    assert members(searcher) == [0, 1]
    tell(searcher, 0.0)
    assert members(searcher) == [1, 4]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("ageing", [False, True])
def test_a_population_of_two_comes_to_its_end(mode: Mode, ageing: bool) -> None:
    searcher = started(mode=mode, population=2, generations=40, ageing=ageing)
    while not searcher.finished:
        suggestion = ask(searcher)
        searcher.observe(suggestion.id, score=float(suggestion.config["x"]))
    assert searcher.best is not None
    assert searcher.best[1] < 0.05 if mode == "min" else searcher.best[1] > 0.95


# Ageing


def test_with_ageing_the_oldest_makes_room() -> None:
    """Though it is the best."""
    searcher = started(population=3, ageing=True)
    tell(searcher, 1.0, 2.0, 3.0)
    assert members(searcher) == [0, 1, 2]
    tell(searcher, 4.0, 5.0)
    assert members(searcher) == [2, 3, 4]


def test_age_counts_from_when_a_trial_was_told() -> None:
    searcher = started(population=2, ageing=True)
    for _ in range(3):
        searcher.suggest()
    for id in ("0002", "0000", "0001"):
        searcher.observe(id, score=1.0)
    assert members(searcher) == [0, 1]


# Restarts


def stagnating(**arguments: Any) -> Genetic:
    """Return a searcher with four members after 1 + 20 trials that did not get better."""
    searcher = started(population=4, generations=50, random_seed=7, **arguments)
    tell(searcher, 1.0, *[2.0] * 20)
    return searcher


def test_a_restart_keeps_the_fittest_and_draws_the_others_anew() -> None:
    searcher = stagnating(mutation_probability=0.0, immigrants=0.0)
    generator = searcher._breeder._generator.bit_generator.state
    anew = [ask(searcher) for _ in range(3)]
    assert members(searcher) == [0]
    searcher._breeder._generator.bit_generator.state = generator
    assert [one.config for one in anew] == [
        UNIT.sample(searcher._breeder._generator) for _ in "123"
    ]
    for one in anew:
        searcher.observe(one.id, score=3.0)
    assert members(searcher) == [23, 22, 21, 0]


def test_one_trial_less_does_not_restart() -> None:
    searcher = started(population=4, generations=50)
    tell(searcher, 1.0, *[2.0] * 19)
    searcher.suggest()
    assert len(members(searcher)) == 4


def test_restarts_can_be_switched_off() -> None:
    searcher = stagnating(restart=False)
    searcher.suggest()
    assert len(members(searcher)) == 4


def test_with_ageing_the_fittest_of_all_comes_back() -> None:
    searcher = stagnating(ageing=True)
    assert members(searcher) == [17, 18, 19, 20]
    searcher.suggest()
    assert members(searcher) == [0]


def test_what_was_made_before_a_restart_comes_in_only_as_the_fittest() -> None:
    searcher = started(population=4, generations=50)
    late = [ask(searcher) for _ in range(3)]
    tell(searcher, 1.0, *[2.0] * 20)
    searcher.suggest()
    assert members(searcher) == [3]
    for suggestion, score in zip(late, (1.0, 0.5, 5.0), strict=True):
        searcher.observe(suggestion.id, score=score)
    assert members(searcher) == [3, 1]


def test_a_thousand_trials_that_are_out_do_not_restart_again_and_again() -> None:
    """They are told after the restart, and none is better; the population stays as it is."""
    searcher = started(population=4, generations=1000)
    late = [ask(searcher) for _ in range(1000)]
    tell(searcher, 1.0, *[2.0] * 20)
    tell(searcher, 3.0, 3.0, 3.0)
    expected = members(searcher)
    assert len(expected) == 4
    for suggestion in late:
        searcher.observe(suggestion.id, score=2.0)
    searcher.suggest()
    assert members(searcher) == expected


# Duplicates


def test_nothing_is_suggested_twice_before_everything_was() -> None:
    """A space of twelve, with 24 suggestions: it goes on, and ends."""
    space = SearchSpace({"a": Choice(1, 2, 3, 4), "b": Choice("x", "y", "z")})
    searcher = started(space, population=4, generations=10, elite_fraction=0.25)
    seen = []
    while not searcher.finished:
        suggestion = ask(searcher)
        seen.append(tuple(suggestion.config.values()))
        searcher.observe(suggestion.id, score=float(suggestion.config["a"]))
    assert len(seen) == searcher.capacity == 31
    assert len(set(seen[:12])) == 12

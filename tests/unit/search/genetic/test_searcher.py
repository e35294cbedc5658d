import copy
import math
import statistics
from collections.abc import Callable
from typing import Any

import pytest

from rayfold.errors import RecipeError
from rayfold.results import Config
from rayfold.search import SEARCHERS, Genetic, Random, Searcher, Suggestion
from rayfold.space import Choice, Float, Int, SearchSpace

UNIT = SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
HIERARCHY = SearchSpace(
    {
        "kind": Choice("convolution", "attention"),
        "kernel": Int(1, 9, when={"kind": "convolution"}),
        "pool": Choice("max", "none", when={"kind": "convolution"}),
        "stride": Int(1, 4, when={"kind": "convolution", "pool": "max"}),
        "heads": Int(1, 8, when={"kind": "attention"}),
        "rate": Float(1e-4, 1.0, log=True),
    }
)


def started(space: SearchSpace = UNIT, **arguments: Any) -> Genetic:
    searcher = Genetic(**arguments)
    searcher.start(space, mode="min")
    return searcher


def sphere(config: Config) -> float:
    return sum((float(value) - 0.3) ** 2 for value in config.values())


def in_turn(
    searcher: Searcher, num_trials: int, score: Callable[[Config], float] = sphere
) -> list[Suggestion]:
    """Run so many trials, one at a time."""
    suggestions = []
    for _ in range(num_trials):
        suggestion = searcher.suggest()
        assert suggestion is not None
        suggestions.append(suggestion)
        searcher.observe(suggestion.id, score=score(suggestion.config))
    return suggestions


# Which form it takes


def test_it_is_steady_state_unless_it_is_told_otherwise() -> None:
    assert Genetic().settings() == Genetic(update="steady_state").settings()


@pytest.mark.parametrize(
    ("num_trials", "population"),
    [(1, 2), (8, 4), (16, 8), (22, 8), (48, 8), (60, 10), (96, 16), (1000, 16)],
)
def test_the_population_fits_the_trials_of_a_study(num_trials: int, population: int) -> None:
    """Whoever has 16 trials has 8 random ones and 8 that are bred."""
    searcher = Genetic(random_seed=3).fitted(num_trials)
    searcher.start(UNIT, mode="min")
    random = Random(random_seed=3)
    random.start(UNIT, mode="min")
    for number, suggestion in enumerate(in_turn(searcher, min(num_trials, 2 * population))):
        drawn = random.suggest()  # from the same generator, so far
        assert drawn is not None
        assert (suggestion.config != drawn.config) == (number >= population)


def test_what_was_given_is_not_fitted() -> None:
    """A study goes on with more trials than it was fitted to, unless it has all generations."""
    assert Genetic(population=4, generations=3).fitted(100).capacity == 10
    searcher = Genetic(population=4).fitted(8)
    searcher.start(UNIT, mode="min")
    assert searcher.capacity is None
    assert len(in_turn(searcher, 20)) == 20
    assert not searcher.finished


def test_a_fitted_search_is_rebuilt_by_what_it_was_fitted_to() -> None:
    before, after = Genetic().fitted(16), Genetic().fitted(16)
    before.start(UNIT, mode="min")
    after.start(UNIT, mode="min")
    for suggestion in in_turn(before, 24):
        after.restore(suggestion.config)
        after.observe(suggestion.id, score=sphere(suggestion.config))
    assert after.suggest() == before.suggest()


def test_by_default_nobody_waits_and_one_at_a_time_is_no_special_case() -> None:
    """All at once there are no results to learn from, one at a time there are; none is None."""
    assert all(started().suggest() is not None for _ in range(107))
    assert in_turn(started(), 107) == in_turn(started(update="steady_state"), 107)


def test_replay_does_not_need_to_know_when_it_was_asked_in_vain() -> None:
    """The journal holds what was suggested and told, in that order, and nothing else."""
    searcher, again = (
        started(population=4, generations=9, update="generational") for _ in range(2)
    )
    running: list[Suggestion] = []
    while not searcher.finished:
        suggestion = searcher.suggest()
        if suggestion is None:
            latest = running.pop()
            for one in (searcher, again):
                one.observe(latest.id, score=sphere(latest.config))
        else:
            assert again.restore(suggestion.config) == suggestion
            running.append(suggestion)


@pytest.mark.parametrize("update", ["generational", "steady_state"])
@pytest.mark.parametrize(
    ("population", "generations", "capacity"), [(16, 8, 107), (4, 3, 10), (2, 1, 2), (20, 2, 36)]
)
def test_every_form_has_the_same_number_of_trials(
    update: Any, population: int, generations: int, capacity: int
) -> None:
    """16 + 7 x (16 - 3), 4 + 2 x (4 - 1), 2, and 20 + 1 x (20 - 4)."""
    searcher = started(population=population, generations=generations, update=update)
    assert searcher.capacity == capacity
    in_turn(searcher, capacity)
    assert searcher.finished
    assert searcher.generation == generations - 1


def test_the_generation_is_counted_in_trials_without_a_barrier() -> None:
    """Four, then three for each further one."""
    searcher = started(population=4, generations=3, update="steady_state")
    generations = []
    for _ in range(10):
        searcher.suggest()
        generations.append(searcher.generation)
    assert generations == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]


# Options in either form


@pytest.mark.parametrize("update", ["generational", "steady_state"])
def test_nothing_is_suggested_twice(update: Any) -> None:
    """64 configurations and 34 trials, most of them near the best."""
    space = SearchSpace({"a": Int(0, 7), "b": Int(0, 7)})
    arguments = {"population": 6, "generations": 8, "update": update, "elite_fraction": 0.34}
    for allowed in (False, True):
        searcher = started(space, allow_duplicates=allowed, **arguments)
        found = {tuple(one.config.values()) for one in in_turn(searcher, 34)}
        assert (len(found) == 34) is not allowed


def test_a_generation_after_a_restart_is_random_but_for_its_elites() -> None:
    """4 + 8 x 3 trials, all alike: 3 x 7 in vain make more than 5 x 4."""
    for restart in (True, False):
        searcher = started(
            population=4, generations=12, update="generational", immigrants=0.0, restart=restart
        )
        in_turn(searcher, 25, lambda config: 1.0)
        generator = copy.deepcopy(searcher._breeder._generator)
        drawn = [UNIT.sample(generator) for _ in range(3)]
        anew = [one.config for one in in_turn(searcher, 3, lambda config: 1.0)]
        assert (anew == drawn) is restart


def test_a_hierarchical_space_is_searched_on_all_levels() -> None:
    """The best is a convolution with pooling, a kernel of 7 and a stride of 3."""

    def score(config: Config) -> float:
        if config["kind"] == "attention":
            return 20.0 - float(config["heads"])
        if config["pool"] == "none":
            return 10.0 + abs(float(config["kernel"]) - 7)
        return abs(float(config["kernel"]) - 7) + abs(float(config["stride"]) - 3)

    for update in ("generational", "steady_state"):
        searcher = started(HIERARCHY, population=16, generations=10, update=update)
        for suggestion in in_turn(searcher, searcher.capacity or 0, score):
            HIERARCHY.check(suggestion.config)
        assert searcher.best is not None
        assert searcher.best[1] <= 1.0  # one step off in one of the two at most


# Presets and arguments


def test_a_preset_is_spelt_out_in_the_settings() -> None:
    assert Genetic(preset="nnlo").settings() == {
        "genetic": {
            "population": None,
            "generations": None,
            "random_seed": 0,
            "elite_fraction": 0.2,
            "update": "generational",
            "mutation_probability": 1.0,
            "allow_duplicates": True,
            "immigrants": 0.0,
            "restart": False,
            "ageing": False,
        }
    }


@pytest.mark.parametrize(
    "argument",
    [
        {"update": "steady_state"},
        {"mutation_probability": 0.5},
        {"mutation_probability": 0.0},
        {"allow_duplicates": False},
        {"immigrants": 0.25},
        {"restart": True},
        {"population": 9},
    ],
)
def test_an_argument_beside_a_preset_overrides_it(argument: dict[str, Any]) -> None:
    expected = {**Genetic(preset="nnlo").settings()["genetic"], **argument}
    assert Genetic(preset="nnlo", **argument).settings() == {"genetic": expected}


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"preset": "nnlo"},
        {"preset": "nnlo", "update": "steady_state", "ageing": True},
        {"update": "generational"},
        {"update": "steady_state", "ageing": True, "restart": True},
        {"update": "steady_state", "ageing": False, "restart": False, "immigrants": 1},
    ],
)
def test_settings_make_the_same_searcher_again(arguments: dict[str, Any]) -> None:
    settings = Genetic(population=4, generations=6, **arguments).settings()
    again = SEARCHERS.create("genetic", settings["genetic"])
    assert again.settings() == settings
    first = started(population=4, generations=6, **arguments)
    again.start(UNIT, mode="min")
    assert in_turn(first, 19) == in_turn(again, 19)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population": 1}, "population must be a whole number from 2 .*, got 1"),
        ({"population": 4.0}, "population must be a whole number from 2 .*, got 4.0"),
        ({"population": True}, "population must be a whole number from 2 .*, got True"),
        ({"generations": 0}, "generations must be a whole number from 1 .*, got 0"),
        ({"random_seed": -1}, "random_seed must be a whole number from 0 .*, got -1"),
        ({"elite_fraction": 0.0}, "elite_fraction must be a number between 0 and 1, got 0.0"),
        ({"elite_fraction": 1.0}, "elite_fraction must be a number between 0 and 1, got 1.0"),
        ({"elite_fraction": math.nan}, "elite_fraction must be a number between 0 and 1, got nan"),
        ({"elite_fraction": True}, "elite_fraction must be a number between 0 and 1, got True"),
        (
            {"update": "steady"},
            r"^update must be one of generational, steady_state, got 'steady' \(did you",
        ),
        ({"update": True}, "^update must be one of generational, steady_state, got True"),
        ({"preset": "nnl0"}, r"^preset must be one of nnlo, got 'nnl0' \(did you mean 'nnlo'"),
        ({"preset": []}, r"^preset must be one of nnlo, got \[\]"),
        ({"mutation_probability": 1.5}, "^mutation_probability must be a number from 0 to 1, got"),
        ({"mutation_probability": math.nan}, "^mutation_probability must be a number .* got nan"),
        ({"immigrants": -0.1}, "^immigrants must be a number from 0 to 1, got -0.1"),
        ({"immigrants": True}, "^immigrants must be a number from 0 to 1, got True"),
        ({"immigrants": "0.1"}, "^immigrants must be a number from 0 to 1, got '0.1'"),
        ({"allow_duplicates": 0}, "^allow_duplicates must be true or false, got 0"),
        ({"restart": "no"}, "^restart must be true or false, got 'no'"),
        ({"ageing": 1.0}, "^ageing must be true or false, got 1.0"),
        (
            {"ageing": True, "update": "generational"},
            "^ageing needs update steady_state, got update generational",
        ),
        (
            {"ageing": True, "preset": "nnlo"},
            "^ageing needs update steady_state, got update generational",
        ),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as error:
        Genetic(**arguments)
    assert "\n" not in str(error.value)


# What it is good for


@pytest.mark.parametrize(
    "arguments", [{}, {"preset": "nnlo"}, {"preset": "nnlo", "update": "steady_state"}]
)
def test_it_beats_random_search_on_a_sphere_with_as_many_trials(
    arguments: dict[str, Any],
) -> None:
    """The median over eleven seeds of the best of 107 trials, in four dimensions."""
    space = SearchSpace({name: Float(0.0, 1.0) for name in ("a", "b", "c", "d")})
    bests: dict[type[Searcher], list[float]] = {Genetic: [], Random: []}
    for seed in range(11):
        for searcher in (Genetic(random_seed=seed, **arguments), Random(random_seed=seed)):
            searcher.start(space, mode="min")
            in_turn(searcher, 107)
            assert searcher.best is not None
            bests[type(searcher)].append(searcher.best[1])
    assert statistics.median(bests[Genetic]) < 0.5 * statistics.median(bests[Random])

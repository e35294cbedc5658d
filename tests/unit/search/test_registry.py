from typing import Any

import pytest

from rayfold.errors import RecipeError
from rayfold.search import SEARCHERS, Fixed, Genetic, Random, Searcher


def test_searchers_are_made_by_name() -> None:
    assert isinstance(SEARCHERS.create("random"), Random)
    assert isinstance(SEARCHERS.create("genetic", {"population": 4}), Genetic)


@pytest.mark.parametrize(
    "searcher",
    [
        Random(random_seed=3),
        Genetic(),
        Genetic(population=5, generations=3, random_seed=9, elite_fraction=0.4),
    ],
)
def test_settings_make_the_same_searcher_again(searcher: Searcher) -> None:
    ((name, arguments),) = searcher.settings().items()
    assert type(SEARCHERS.create(name, arguments)) is type(searcher) is SEARCHERS.names[name]
    assert SEARCHERS.create(name, arguments).settings() == searcher.settings()


def test_reseeded_searchers_draw_otherwise_and_always_the_same() -> None:
    searcher = Genetic(population=5, generations=3, random_seed=9)
    others = [searcher.with_seed(number).settings()["genetic"] for number in (1, 2, 1)]
    assert others[0] == others[2]
    assert len({9, others[0]["random_seed"], others[1]["random_seed"]}) == 3
    assert {**others[0], "random_seed": 9} == searcher.settings()["genetic"]


def test_a_searcher_that_draws_nothing_is_not_reseeded() -> None:
    fixed = Fixed([{"x": 0.5}])
    assert fixed.with_seed(1) is fixed


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "genetics",
            {},
            r"^searcher 'genetics' is unknown \(did you mean 'genetic'\?\); choose from random,",
        ),
        (None, {}, "^a searcher is a name, a reference or a class, got NoneType"),
        (
            "genetic",
            {"popultion": 4},
            r"^genetic takes population, .* \(did you mean 'population'",
        ),
        ("fixed", {}, r"^fixed needs configs; write \{fixed: \{configs: \.\.\.\}\}\.$"),
        ("fixed", {"configs": 3}, "^fixed: configs must be a list of configurations, got 3"),
        ("random", {"population": 4}, "^random takes random_seed, got 'population'"),
        ("random", {1: 4}, "^random takes random_seed, got 1"),
        (
            "genetic",
            {"population": "16"},
            "^genetic: population must be a whole number from 2",
        ),
        ("genetic", {"elite_fraction": None}, "^genetic: elite_fraction must be a number between"),
    ],
)
def test_mistakes_are_refused_by_name(name: Any, arguments: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        SEARCHERS.create(name, arguments)

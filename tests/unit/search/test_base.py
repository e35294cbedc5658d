from typing import Any

import numpy as np
import pytest

from rayfold.errors import RecipeError
from rayfold.search import Observation, Random, Searcher, Suggestion
from rayfold.space import Float, SearchSpace

SPACE = SearchSpace({"rate": Float(0.0, 1.0)})


class Recorder(Searcher):
    """Proposes 0.0, 0.1, 0.2 and keeps what it is told."""

    def __init__(self) -> None:
        self.learned: list[Observation] = []

    @property
    def capacity(self) -> int:
        return 3

    def settings(self) -> dict[str, Any]:
        return {"recorder": {}}

    def _begin(self) -> None:
        self.num_proposed = 0

    def _propose(self) -> dict[str, Any]:
        self.num_proposed += 1
        return {"rate": (self.num_proposed - 1) / 10}

    def _learn(self, observation: Observation) -> None:
        self.learned.append(observation)


def started(mode: Any = "min") -> Recorder:
    searcher = Recorder()
    searcher.start(SPACE, mode=mode)
    return searcher


def test_a_searcher_ends_at_its_capacity() -> None:
    searcher = started()
    assert [searcher.suggest() for _ in range(5)] == [
        Suggestion("0000", {"rate": 0.0}),
        Suggestion("0001", {"rate": 0.1}),
        Suggestion("0002", {"rate": 0.2}),
        None,
        None,
    ]
    assert searcher.finished
    assert searcher.num_proposed == 3


def test_it_is_not_finished_before_the_last_suggestion() -> None:
    searcher = started()
    searcher.suggest()
    searcher.suggest()
    assert not searcher.finished


def test_results_are_taken_in_after_the_last_suggestion() -> None:
    searcher = started()
    for _ in range(3):
        searcher.suggest()
    searcher.observe("0002", score=1.0)
    assert searcher.best == (Suggestion("0002", {"rate": 0.2}), 1.0)


def test_observations_reach_the_searcher_cleaned() -> None:
    searcher = started()
    first, second, third = (searcher.suggest() for _ in range(3))
    half: Any = np.float32(0.5)
    searcher.observe("0002", score=half, standard_error=0.25, num_folds=5)
    searcher.observe("0000", score=0.1, standard_error=float("nan"))
    searcher.observe("0001", failed=True, score=0.3)
    assert first is not None
    assert second is not None
    assert third is not None
    assert searcher.learned == [
        Observation(suggestion=third, score=0.5, standard_error=0.25, num_folds=5),
        Observation(suggestion=first, score=0.1, standard_error=None, num_folds=None),
        Observation(suggestion=second, score=None),
    ]
    assert type(searcher.learned[0].score) is float


@pytest.mark.parametrize("order", [("0000", "0001", "0002"), ("0002", "0001", "0000")])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_of_equal_scores_the_earliest_suggestion_is_best(mode: str, order: Any) -> None:
    searcher = started(mode)
    for _ in range(3):
        searcher.suggest()
    for id in order:
        searcher.observe(id, score=2.0)
    assert searcher.best == (Suggestion("0000", {"rate": 0.0}), 2.0)


@pytest.mark.parametrize(("mode", "best"), [("min", "0001"), ("max", "0002")])
def test_negative_scores_keep_their_order(mode: str, best: str) -> None:
    searcher = started(mode)
    for score in (-1.0, -3.0, -0.5):
        suggestion = searcher.suggest()
        assert suggestion is not None
        searcher.observe(suggestion.id, score=score)
    assert searcher.best is not None
    assert searcher.best[0].id == best


@pytest.mark.parametrize("mode", ["minimum", "MIN", None, -1])
def test_the_mode_is_min_or_max(mode: Any) -> None:
    with pytest.raises(RecipeError, match="mode must be one of min, max, got"):
        started(mode)


def test_a_space_is_a_search_space_and_a_refused_start_can_be_repeated() -> None:
    searcher = Random()
    with pytest.raises(RecipeError, match=r"space must be a SearchSpace, got \{.*; make it one"):
        searcher.start({"rate": Float(0, 1)}, mode="min")  # type: ignore[arg-type]
    searcher.start(SearchSpace({"rate": Float(0, 1)}), mode="min")
    assert searcher.suggest() is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score": True}, "needs a number as score"),
        ({"failed": "no"}, "failed must be true or false, got 'no'"),
        ({"score": 1.0, "standard_error": "a"}, "standard_error must be a number of at least 0"),
        ({"score": 1.0, "standard_error": -1.0}, "standard_error must be a number of at least 0"),
        ({"score": 1.0, "num_folds": -1}, "num_folds must be a whole number from 0"),
    ],
)
def test_what_is_observed_is_checked(arguments: dict[str, Any], message: str) -> None:
    searcher = started()
    searcher.suggest()
    with pytest.raises(RecipeError, match=message):
        searcher.observe("0000", **arguments)
    with pytest.raises(RecipeError, match=r"no suggestion has the id \[1\]"):
        searcher.observe([1], score=1.0)  # type: ignore[arg-type]
    searcher.observe("0000", score=10**400)
    assert searcher.best is None


@pytest.mark.parametrize("score", [None, "0.5", [0.5]])
def test_a_score_is_a_number(score: Any) -> None:
    searcher = started()
    searcher.suggest()
    with pytest.raises(RecipeError, match="'0000' needs a number as score, or failed=True, got"):
        searcher.observe("0000", score=score)


def test_a_refused_observation_leaves_no_trace() -> None:
    searcher = started()
    searcher.suggest()
    with pytest.raises(RecipeError):
        searcher.observe("0000")
    searcher.observe("0000", score=1.0)
    assert len(searcher.learned) == 1


def test_the_space_and_the_mode_can_be_asked_for() -> None:
    searcher = started("max")
    assert searcher.space is SPACE
    assert searcher.mode == "max"
    with pytest.raises(RecipeError, match="this Random is not started"):
        _ = Random().space

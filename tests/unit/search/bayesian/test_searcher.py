import logging
import math

import numpy as np
import pytest

from rayfold.errors import RecipeError
from rayfold.results import Config
from rayfold.search import Bayesian, Past, PastStudy, Random, Searcher
from rayfold.search.bayesian import searcher as module
from rayfold.search.bayesian.gaussian_process import GaussianProcess
from rayfold.search.bayesian.searcher import standardized
from rayfold.search.forests import Forest
from rayfold.space import Choice, Float, Int, SearchSpace

SPACE = SearchSpace(
    {
        "x": Float(-5.0, 10.0),
        "y": Float(0.0, 15.0),
        "shift": Choice("none", "some", "much"),
    }
)


def branin(config: Config) -> float:
    """Branin's function, 0.398 at best, plus a penalty for two of three categories."""
    x, y = float(config["x"]), float(config["y"])
    base = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    penalty = {"none": 0.0, "some": 5.0, "much": 20.0}[str(config["shift"])]
    return base + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 + penalty


def run(searcher: Searcher, number: int, *, sign: float = 1.0) -> list[float]:
    searcher.start(SPACE, mode="min" if sign > 0 else "max")
    scores = []
    for _ in range(number):
        suggestion = searcher.suggest()
        assert suggestion is not None
        scores.append(branin(suggestion.config))
        searcher.observe(suggestion.id, score=sign * scores[-1])
    return scores


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_it_comes_close_to_the_minimum_where_random_search_does_not(sign: float) -> None:
    assert min(run(Bayesian(random_seed=1), 40, sign=sign)) < 0.45
    assert min(run(Random(random_seed=1), 40)) > 0.6


@pytest.mark.parametrize("surrogate", ["extra_trees", "random_forest"])
def test_forests_learn_too(surrogate: str) -> None:
    scores = run(Bayesian(random_seed=1, surrogate=surrogate), 25)  # type: ignore[arg-type]
    assert np.median(scores[15:]) < np.median(scores[:8]) / 2


@pytest.mark.parametrize("pending", ["ignore", "believer", "liar"])
def test_sixteen_running_trials_are_all_different(pending: str) -> None:
    searcher = Bayesian(random_seed=1, pending=pending)  # type: ignore[arg-type]
    run(searcher, 12)
    places = {repr(searcher.suggest()) for _ in range(16)}
    configs = [tuple(suggestion.config.values()) for suggestion in searcher._suggestions.values()]
    assert len(places) == 16
    assert len(set(configs)) == 28


def test_no_configuration_is_suggested_twice_before_all_were() -> None:
    searcher = Bayesian(random_seed=0, num_initial=2)
    searcher.start(SearchSpace({"n": Int(1, 4), "c": Choice("a", "b", "c")}), mode="min")
    seen = []
    for _ in range(12):
        suggestion = searcher.suggest()
        assert suggestion is not None
        seen.append(tuple(suggestion.config.items()))
        searcher.observe(suggestion.id, score=float(suggestion.config["n"]))
    assert len(set(seen)) == 12
    assert searcher.suggest() is not None


def test_a_space_of_equal_scores_is_searched_on() -> None:
    searcher = Bayesian(random_seed=0)
    searcher.start(SPACE, mode="min")
    for _ in range(15):
        suggestion = searcher.suggest()
        assert suggestion is not None
        searcher.observe(suggestion.id, score=3.0)


def test_a_failing_surrogate_is_told_once_and_another_takes_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr(GaussianProcess, "fit", fail)
    with caplog.at_level(logging.WARNING):
        run(Bayesian(random_seed=1), 15)
        told = [record.getMessage() for record in caplog.records]
        assert told == [
            "gaussian_process failed (not positive definite); another surrogate takes over."
        ]
        monkeypatch.setattr(Forest, "fit", fail)
        run(Bayesian(random_seed=1), 15)
    assert len(caplog.records) == 3
    assert caplog.records[-1].getMessage().startswith("extra_trees failed")


@pytest.mark.filterwarnings("error")
def test_a_space_that_is_used_up_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    searcher = Bayesian(num_initial=2, fold_noise=True)
    searcher.start(SearchSpace({"size": Choice(32, 64)}), mode="min")
    for score in (1e308, -1e308, 1.0, 2.0):
        suggestion = searcher.suggest()
        assert suggestion is not None
        searcher.observe(suggestion.id, score=score, standard_error=1e300)
    [record] = caplog.records
    assert record.getMessage() == "The space has hardly more configurations; some repeat."


def test_a_resumed_search_goes_on_as_if_it_had_never_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = Bayesian(random_seed=1), Bayesian(random_seed=1)
    scores = run(first, 20)
    second.start(SPACE, mode="min")
    with monkeypatch.context() as patch:
        patch.setattr(module, "best_place", None)  # what costs most is not done again
        for suggestion, score in zip(first._suggestions.values(), scores, strict=True):
            assert second.restore(suggestion.config) == suggestion
            second.observe(suggestion.id, score=score)
    assert first.best == second.best
    for _ in range(3):
        ours, theirs = first.suggest(), second.suggest()
        assert ours == theirs
        assert ours is not None
        first.observe(ours.id, score=branin(ours.config))
        second.observe(ours.id, score=branin(ours.config))


def test_a_past_that_has_won_nothing_does_not_shorten_the_first_spread() -> None:
    """A model that has seen a bad corner alone would stay there."""
    cold, misled = Bayesian(random_seed=1), Bayesian(random_seed=1)
    run(cold, 8)
    worst = PastStudy(
        name="worst",
        mode="min",
        configs=tuple({"x": -5.0, "y": 0.1 * y, "shift": "much"} for y in range(20)),
        scores=tuple(float(y) for y in range(20)),
    )
    misled.start(SPACE, mode="min", past=Past((worst,)))
    own = []
    for _ in range(12):
        suggestion = misled.suggest()
        assert suggestion is not None
        misled.observe(suggestion.id, score=branin(suggestion.config))
        if suggestion.config not in worst.configs:
            own.append(suggestion.config)
    assert len(own) >= 10
    assert own[:8] == [suggestion.config for suggestion in cold._suggestions.values()]


def test_bad_scores_are_flattened_and_failures_are_the_worst() -> None:
    raw = np.array([1.0, 2.0, 3.0, 50.0, 1e9, np.nan])
    scores, unit = standardized(raw)
    flat = np.array([1.0, 2.0, 3.0, 9.0, 9.0, 9.0])
    np.testing.assert_allclose(scores, (flat - flat.mean()) / flat.std())
    assert unit == pytest.approx(flat.std())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_initial": 1}, "num_initial must be a whole number from 2"),
        ({"surrogate": "gausian_process"}, r"surrogate must be one of .*'gaussian_process'"),
        ({"pending": "lie"}, "pending must be one of ignore, believer, liar"),
        ({"fold_noise": 1}, "fold_noise must be true or false"),
        ({"random_seed": -1}, "random_seed must be a whole number"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Bayesian(**arguments)  # type: ignore[arg-type]

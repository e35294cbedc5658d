import logging
from typing import Any

import numpy as np
import optuna
import pytest
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    TrialScheduler,
)
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search import Searcher as TuneSearcher
from ray.tune.search.optuna import OptunaSearch

from rayfold.errors import RecipeError, SpaceError
from rayfold.results import Mode
from rayfold.space import Choice, Float, Int, SearchSpace
from rayfold.tuning.foreign import ForeignScheduler, ForeignSearcher, tune_space

SPACE = SearchSpace(
    {
        "model.depth": Int(1, 3),
        "model.width": Int(8, 64, log=True),
        "model.dropout": Float(0.0, 0.5),
        "optimizer.name": Choice("sgd", "adam"),
        "optimizer.learning_rate": Float(1e-4, 1e-1, log=True),
    }
)
CONDITIONAL = SearchSpace(
    {
        "optimizer.name": Choice("sgd", "adam"),
        "optimizer.momentum": Float(0.0, 0.9, when={"optimizer.name": "sgd"}),
    }
)


class Listing(TuneSearcher):
    """Proposes what it is given, and notes what it is told; without ``add_evaluated_point``."""

    def __init__(self, *proposals: Any) -> None:
        super().__init__()
        self.proposals = list(proposals)
        self.told: list[Any] = []

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        return self.proposals.pop(0)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.told.append((trial_id, result and result["score"], error))


def started(searcher: TuneSearcher, space: SearchSpace = SPACE, mode: Mode = "min") -> Any:
    foreign = ForeignSearcher(searcher)
    foreign.start(space, mode=mode)
    return foreign


class TestSearcher:
    def test_optuna_proposes_configurations_of_our_space(self) -> None:
        searcher = started(OptunaSearch(seed=1))
        for number in range(12):
            suggestion = searcher.suggest()
            SPACE.check(suggestion.config)
            assert suggestion.id == f"{number:04d}"
            searcher.observe(suggestion.id, score=float(suggestion.config["model.depth"]))

    @pytest.mark.parametrize("mode", ["min", "max"])
    def test_it_improves_our_score_in_our_direction(self, mode: Mode) -> None:
        """After 10 random proposals TPE has seen which dropout is good."""
        searcher = started(OptunaSearch(seed=1), mode=mode)
        dropouts = []
        for _ in range(30):
            suggestion = searcher.suggest()
            dropouts.append(float(suggestion.config["model.dropout"]))
            searcher.observe(suggestion.id, score=dropouts[-1])
        mean = float(np.mean(dropouts[-10:]))
        assert mean < 0.2 if mode == "min" else mean > 0.3

    def test_what_was_given_is_copied_and_may_be_given_again(self) -> None:
        given = OptunaSearch(seed=1)
        assert started(given).suggest() == started(given).suggest()

    def test_conditions_are_told_and_what_does_not_apply_is_left_out(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            searcher = started(OptunaSearch(seed=1), CONDITIONAL)
        assert "left out, of optimizer.momentum" in caplog.text
        configs = [searcher.suggest().config for _ in range(8)]
        assert {len(config) for config in configs} == {1, 2}
        for config in configs:
            CONDITIONAL.check(config)

    def test_earlier_trials_are_told_to_a_new_one(self) -> None:
        """Optuna gets their values; those that do not apply have a neutral one."""
        searcher = started(OptunaSearch(seed=1), CONDITIONAL)
        for config in ({"optimizer.name": "adam"}, {"optimizer.name": "adam"}):
            searcher.restore(config)
        searcher.observe("0000", score=0.5)
        searcher.observe("0001", failed=True)
        [trial] = searcher._searcher._ot_study.trials
        assert trial.params == {"optimizer.name": "adam", "optimizer.momentum": 0.45}
        assert trial.value == 0.5
        assert searcher.suggest().id == "0002"

    def test_one_that_takes_no_earlier_trials_goes_on_without_them(self) -> None:
        searcher = started(Listing({"optimizer.name": "adam"}), CONDITIONAL)
        searcher.restore({"optimizer.name": "adam"})
        searcher.observe("0000", score=0.5)
        assert searcher.suggest().id == "0001"
        searcher.observe("0001", score=0.25)
        assert searcher._searcher.told == [("0001", 0.25, False)]

    def test_failed_trials_are_told_as_errors(self) -> None:
        searcher = started(Listing({"optimizer.name": "adam"}), CONDITIONAL)
        searcher.observe(searcher.suggest().id, failed=True)
        assert searcher._searcher.told == [("0000", None, True)]

    def test_nested_names_and_numpy_values_become_ours(self) -> None:
        nested = {"optimizer": {"name": np.str_("sgd"), "momentum": np.float64(0.5)}}
        config = started(Listing(nested), CONDITIONAL).suggest().config
        assert config == {"optimizer.name": "sgd", "optimizer.momentum": 0.5}
        assert [type(value) for value in config.values()] == [str, float]

    def test_a_proposal_outside_our_space_is_refused(self) -> None:
        with pytest.raises(
            SpaceError, match=r"optimizer\.name must be one of 'sgd', 'adam', got 'r"
        ):
            started(Listing({"optimizer.name": "rmsprop"}), CONDITIONAL).suggest()
        with pytest.raises(SpaceError, match="'batch_size' is not a parameter of the space"):
            started(Listing({"optimizer.name": "adam", "batch_size": 1}), CONDITIONAL).suggest()

    def test_one_that_waits_is_asked_again_and_one_that_has_finished_is_not(self) -> None:
        searcher = started(Listing(None, {"optimizer.name": "adam"}, "FINISHED"), CONDITIONAL)
        assert searcher.suggest() is None
        assert not searcher.finished
        assert searcher.suggest().id == "0000"
        assert searcher.suggest() is None
        assert searcher.finished
        assert searcher.suggest() is None

    def test_a_limit_of_trials_at_once_is_kept(self) -> None:
        searcher = started(ConcurrencyLimiter(OptunaSearch(seed=1), max_concurrent=1))
        first = searcher.suggest()
        assert searcher.suggest() is None
        searcher.observe(first.id, score=0.5)
        assert searcher.suggest().id == "0001"

    def test_a_space_of_its_own_is_kept(self) -> None:
        """It may express conditions as a function."""

        def define(trial: optuna.Trial) -> None:
            if trial.suggest_categorical("optimizer.name", ["sgd", "adam"]) == "sgd":
                trial.suggest_float("optimizer.momentum", 0.0, 0.9)

        searcher = started(OptunaSearch(define, metric="score", mode="min", seed=1), CONDITIONAL)
        for _ in range(5):
            CONDITIONAL.check(searcher.suggest().config)

    def test_another_metric_mode_or_clock_is_refused(self) -> None:
        space = {"batch_size": optuna.distributions.IntDistribution(1, 8)}
        with pytest.raises(
            RecipeError, match="OptunaSearch has metric='loss' and mode='min'; leave both out, or"
        ):
            started(OptunaSearch(space, metric="loss", mode="min"))
        with pytest.raises(RecipeError, match="has metric='loss' and mode='min'; leave both out"):
            started(OptunaSearch(metric="loss", mode="min"))  # without a space of its own
        with pytest.raises(RecipeError, match="has metric='score' and mode='min'; leave both out"):
            started(OptunaSearch(space, metric="score", mode="min"), mode="max")

    def test_the_settings_name_the_class(self) -> None:
        assert ForeignSearcher(OptunaSearch()).settings() == {"tune": {"searcher": "OptunaSearch"}}


def test_the_space_of_tune_has_the_same_values() -> None:
    """Tune's whole numbers end one below their bound, ours at it."""
    space = tune_space(SPACE)
    assert list(space) == list(SPACE.names)
    depths = {space["model.depth"].sample() for _ in range(100)}
    assert depths == {1, 2, 3}
    assert (space["model.width"].lower, space["model.width"].upper) == (8, 65)
    assert space["optimizer.name"].categories == ["sgd", "adam"]


def prepared(scheduler: TrialScheduler, mode: Mode) -> TrialScheduler:
    foreign = ForeignScheduler(scheduler)
    foreign.start(mode=mode, num_folds=2, epochs=3)
    return foreign.prepared


class TestScheduler:
    def test_metric_and_mode_are_set_on_a_copy(self) -> None:
        given = AsyncHyperBandScheduler()
        scheduler = prepared(given, "max")
        assert (scheduler.metric, scheduler._mode) == ("score", "max")
        assert given.metric is None

    def test_one_that_compares_nothing_is_welcome(self) -> None:
        assert isinstance(prepared(FIFOScheduler(), "min"), FIFOScheduler)

    def test_another_metric_mode_or_clock_is_refused(self) -> None:
        with pytest.raises(
            RecipeError, match="MedianStoppingRule has metric='loss' and mode='min'"
        ):
            prepared(MedianStoppingRule(metric="loss", mode="min"), "min")
        with pytest.raises(RecipeError, match="has time_attr='epochs', which no trial reports"):
            prepared(AsyncHyperBandScheduler(time_attr="epochs"), "min")
        same = MedianStoppingRule(metric="score", mode="min")
        assert prepared(same, "min").metric == "score"
        with pytest.raises(RecipeError, match="metric='score' and mode='min'; leave both out"):
            prepared(same, "max")

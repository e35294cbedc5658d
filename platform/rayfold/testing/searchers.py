"""What every searcher promises, as tests to inherit."""

import json
import math
import random
from abc import ABC, abstractmethod

import numpy as np
import pytest

from rayfold.errors import RecipeError
from rayfold.results import Config, Mode
from rayfold.search import Past, PastStudy, Searcher, Suggestion
from rayfold.space import Choice, Float, Int, SearchSpace

SPACE = SearchSpace(
    {
        "model.channels": Int(8, 64, log=True),
        "model.layers": Int(1, 3),
        "model.dropout": Float(0.0, 0.6, when={"model.layers": [2, 3]}),
        "optimizer.name": Choice("sgd", "adamw"),
        "optimizer.momentum": Float(0.0, 0.99, when={"optimizer.name": "sgd"}),
        "optimizer.nesterov": Choice(True, False, when={"optimizer.name": "sgd"}),
        "optimizer.learning_rate": Float(1e-4, 1e-1, log=True),
    }
)
"""The space that the tests search: log scales, integers, categories and conditions."""

NUM_TRIALS = 30
"""How many trials a test runs at most."""


class SearcherContract(ABC):
    """Tests that a searcher keeps the promises of ``rayfold.search.Searcher``.

    Inherit them in a test module, in a class whose name begins with ``Test``::

        class TestMine(SearcherContract):
            def make_searcher(self, random_seed: int) -> Searcher:
                return Mine(random_seed=random_seed)
    """

    @abstractmethod
    def make_searcher(self, random_seed: int) -> Searcher:
        """Return a new searcher, not started; of capacity 10 at least, if it ever ends."""

    def test_configurations_lie_in_the_space(self) -> None:
        """Active parameters and no others, possible values, plain scalars of Python."""
        for suggestion in _run(self._started(), NUM_TRIALS):
            SPACE.check(suggestion.config)

    def test_suggestions_are_numbered_in_order(self) -> None:
        """The ids are "0000", "0001", ..."""
        suggestions = _run(self._started(), NUM_TRIALS)
        assert [suggestion.id for suggestion in suggestions] == [
            f"{number:04d}" for number in range(len(suggestions))
        ]

    def test_the_same_seed_gives_the_same_suggestions(self) -> None:
        """Given the same scores."""
        assert _run(self._started(7), NUM_TRIALS) == _run(self._started(7), NUM_TRIALS)

    def test_another_seed_gives_other_suggestions(self) -> None:
        """The seed is used."""
        assert _run(self._started(7), 5) != _run(self._started(8), 5)

    def test_global_random_generators_are_left_alone(self) -> None:
        """Neither Python's nor NumPy's is drawn from, or seeded."""
        python, numpy = random.getstate(), np.random.get_state()
        _run(self._started(), NUM_TRIALS)
        assert random.getstate() == python
        assert repr(np.random.get_state()) == repr(numpy)

    @pytest.mark.parametrize("num_before", [0, 1, 7, 15])
    def test_replay_rebuilds_the_searcher(self, num_before: int) -> None:
        """A new searcher, taken through the same calls, goes on with the same suggestions."""
        first, second = self._started(), self._started()
        assert _run(first, num_before) == _run(second, num_before)
        assert _run(first, NUM_TRIALS) == _run(second, NUM_TRIALS)
        assert first.best == second.best

    def test_asking_too_often_changes_nothing(self) -> None:
        """A call that returned None leaves no trace."""
        patient, eager = self._started(), self._started()
        assert _run(patient, NUM_TRIALS) == _run(eager, NUM_TRIALS, num_extra_calls=3)

    def test_several_suggestions_may_be_out_at_once(self) -> None:
        """The first two are given without any result."""
        searcher = self._started()
        first, second = searcher.suggest(), searcher.suggest()
        assert first is not None
        assert second is not None
        assert first.config != second.config

    def test_it_goes_on_once_every_result_is_in(self) -> None:
        """It suggests something, or has finished: it never waits for what will not come."""
        searcher = self._started()
        for _ in range(NUM_TRIALS):
            suggestion = searcher.suggest()
            if suggestion is None:
                assert searcher.finished
                break
            searcher.observe(suggestion.id, score=_loss(suggestion.config))

    @pytest.mark.parametrize("mode", ["min", "max"])
    def test_failed_trials_are_tolerated(self, mode: Mode) -> None:
        """Every one fails, and the search goes on."""
        searcher = self._started(mode=mode)
        num_trials = 0
        while num_trials < NUM_TRIALS and (suggestion := searcher.suggest()) is not None:
            searcher.observe(suggestion.id, failed=True)
            num_trials += 1
        assert num_trials == min(NUM_TRIALS, searcher.capacity or NUM_TRIALS)
        assert searcher.best is None

    @pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("mode", ["min", "max"])
    def test_scores_that_are_not_finite_count_as_failed(self, mode: Mode, score: float) -> None:
        """The search goes on exactly as if those trials had failed."""
        told_a_number, told_failed = self._started(mode=mode), self._started(mode=mode)
        for number in range(10):
            one, other = told_a_number.suggest(), told_failed.suggest()
            assert one == other
            assert one is not None
            if number % 3 == 0:
                told_a_number.observe(one.id, score=score)
                told_failed.observe(one.id, failed=True)
            else:
                told_a_number.observe(one.id, score=float(number))
                told_failed.observe(one.id, score=float(number))
        assert told_a_number.best == told_failed.best

    @pytest.mark.parametrize("offset", [-100.0, 0.0, 100.0])
    @pytest.mark.parametrize("mode", ["min", "max"])
    def test_the_best_is_truly_the_best(self, mode: Mode, offset: float) -> None:
        """With scores of either sign; of equal scores the earliest suggestion counts."""
        searcher = self._started(mode=mode)
        assert searcher.best is None
        scores = [offset + score for score in (3.0, -2.0, 5.0, -2.0, 0.0, 5.0)]
        suggestions = []
        for score in scores:
            suggestion = searcher.suggest()
            assert suggestion is not None
            suggestions.append(suggestion)
            searcher.observe(suggestion.id, score=score)
        best = 1 if mode == "min" else 2
        assert searcher.best == (suggestions[best], scores[best])

    def test_a_searcher_that_ends_suggests_as_many_as_its_capacity(self) -> None:
        """Then it is finished, and stays so."""
        searcher = self._started()
        limit = NUM_TRIALS if searcher.capacity is None else searcher.capacity
        assert len(_run(searcher, limit + 10)) == (
            limit if searcher.capacity is not None else limit + 10
        )
        assert searcher.finished is (searcher.capacity is not None)
        assert (searcher.suggest() is None) is searcher.finished

    def test_unknown_suggestions_are_refused(self) -> None:
        """Only what was suggested is observed."""
        with pytest.raises(RecipeError, match="no suggestion has the id '0000'"):
            self._started().observe("0000", score=1.0)

    def test_observing_twice_is_refused(self) -> None:
        """Each suggestion is observed once, failed or not."""
        searcher = self._started()
        (suggestion,) = _run(searcher, 1)
        with pytest.raises(RecipeError, match="'0000' is observed already"):
            searcher.observe(suggestion.id, failed=True)

    def test_observing_without_a_score_is_refused(self) -> None:
        """A trial without a score has failed, and is said to have."""
        searcher = self._started()
        searcher.suggest()
        with pytest.raises(RecipeError, match="needs a number as score, or failed=True"):
            searcher.observe("0000")

    def test_it_must_be_started_first_and_once(self) -> None:
        """The error says what to call."""
        searcher = self.make_searcher(0)
        assert searcher.best is None
        assert not searcher.finished
        with pytest.raises(RecipeError, match=r"is not started; call start\("):
            searcher.suggest()
        with pytest.raises(RecipeError, match=r"is not started; call start\("):
            searcher.observe("0000", score=1.0)
        searcher.start(SPACE, mode="min")
        with pytest.raises(RecipeError, match="is started already"):
            searcher.start(SPACE, mode="min")

    def test_a_search_may_begin_with_the_past(self) -> None:
        """Its best first, then more as long as they do well, in the space and none twice."""
        past = make_past()
        if not self.make_searcher(7).opens_with_past:
            with pytest.raises(RecipeError, match="takes no past"):
                self._started(past=past)
            return
        first, second = (_run(self._started(past=past), 12) for _ in range(2))
        assert first == second
        assert first[0].config in past.studies[0].configs
        assert sum(suggestion.config in past.studies[0].configs for suggestion in first) >= 2
        for suggestion in first:
            SPACE.check(suggestion.config)
        assert len({str(sorted(suggestion.config.items())) for suggestion in first}) == len(first)

    def test_a_misleading_past_costs_two_trials(self) -> None:
        """With the scores reversed, no more than two of its configurations are tried."""
        past = make_past(mode="max")
        if self.make_searcher(7).opens_with_past:
            suggestions = _run(self._started(past=past), NUM_TRIALS)
            assert sum(entry.config in past.studies[0].configs for entry in suggestions) <= 2

    def test_settings_are_plain_and_hold_one_name(self) -> None:
        """They survive JSON, and do not change while the search runs."""
        searcher = self._started()
        settings = searcher.settings()
        _run(searcher, NUM_TRIALS)
        assert len(settings) == 1
        assert json.loads(json.dumps(settings)) == settings == searcher.settings()

    def _started(
        self, random_seed: int = 7, *, mode: Mode = "min", past: Past | None = None
    ) -> Searcher:
        searcher = self.make_searcher(random_seed)
        searcher.start(SPACE, mode=mode, past=past)
        return searcher


def make_past(mode: Mode = "min") -> Past:
    """Return a past study of the contract's problem, of 40 random trials; "max" misleads."""
    generator = np.random.default_rng(3)
    configs = tuple(SPACE.sample(generator) for _ in range(40))
    scores = tuple(_loss(config) for config in configs)
    return Past((PastStudy(name="before", mode=mode, configs=configs, scores=scores),))


def _run(searcher: Searcher, num_trials: int, *, num_extra_calls: int = 0) -> list[Suggestion]:
    """Run up to so many trials, three at once, the latest observed first."""
    suggestions: list[Suggestion] = []
    running: list[Suggestion] = []
    while True:
        suggestion = searcher.suggest() if len(suggestions) < num_trials else None
        if suggestion is not None:
            suggestions.append(suggestion)
            running.append(suggestion)
        elif not running:
            return suggestions
        else:
            for _ in range(num_extra_calls if len(suggestions) < num_trials else 0):
                assert searcher.suggest() is None
        if suggestion is None or len(running) == 3:
            latest = running.pop()
            searcher.observe(latest.id, score=_loss(latest.config), standard_error=0.1)


def _loss(config: Config) -> float:
    """Return a loss with its minimum inside the space, from what every configuration has."""
    rate = math.log10(float(config["optimizer.learning_rate"])) + 2.5
    penalty = 0.5 * (config["optimizer.name"] == "sgd") + 0.2 * float(config["model.layers"])
    return rate * rate + penalty - 1.0

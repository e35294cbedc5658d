"""What every scheduler promises, as tests to inherit."""

import json
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import pytest

from rayfold.errors import RecipeError
from rayfold.results import Mode, Status
from rayfold.schedulers import Decision, Scheduler

NUM_FOLDS = 5
EPOCHS = 9
NUM_TRIALS = 24
"""How many trials a test runs, three at once."""


class SchedulerContract(ABC):
    """Tests that a scheduler keeps the promises of ``rayfold.schedulers.Scheduler``.

    Inherit them in a test module, in a class whose name begins with ``Test``::

        class TestMine(SchedulerContract):
            def make_scheduler(self) -> Scheduler:
                return Mine()
    """

    @abstractmethod
    def make_scheduler(self) -> Scheduler:
        """Return a new scheduler, not started."""

    @pytest.mark.parametrize("mode", ["min", "max"])
    def test_the_same_reports_give_the_same_decisions(self, mode: Mode) -> None:
        """In both modes."""
        assert _run(self._started(mode), mode) == _run(self._started(mode), mode)

    def test_mirrored_scores_give_the_same_decisions(self) -> None:
        """Low losses are what high scores are."""
        losses, scores = _run(self._started("min"), "min"), _run(self._started("max"), "max")
        assert _decisions(losses) == _decisions(scores)

    def test_global_random_generators_are_left_alone(self) -> None:
        """Neither Python's nor NumPy's is drawn from, or seeded."""
        python, numpy = random.getstate(), np.random.get_state()
        _run(self._started(), "min")
        assert random.getstate() == python
        assert repr(np.random.get_state()) == repr(numpy)

    def test_the_same_report_twice_changes_nothing(self) -> None:
        """A trial that is taken up after a crash tells again what it has told."""
        once, twice = self._started(), self._started()
        assert _run(once, "min") == _run(twice, "min", times=2)

    def test_replay_rebuilds_the_scheduler(self) -> None:
        """A new scheduler that is told the same decides the same, at every moment."""
        events = _run(self._started(), "min")
        again = self._started()
        for event in events:
            assert event.tell(again) == event.decision

    @pytest.mark.parametrize("mode", ["min", "max"])
    def test_a_trial_that_is_alone_is_never_stopped(self, mode: Mode) -> None:
        """There is nothing that it is worse than."""
        scheduler = self._started(mode)
        for scores, epoch in _steps(scheduler, "0000", 1.0):
            assert scheduler.report("0000", scores, epoch=epoch) == "go on"

    @pytest.mark.parametrize("mode", ["min", "max"])
    def test_the_best_in_everything_is_never_stopped(self, mode: Mode) -> None:
        """Whatever came before."""
        scheduler = self._started(mode)
        _run(scheduler, mode)
        for scores, epoch in _steps(scheduler, "best", -10.0 if mode == "min" else 10.0):
            assert scheduler.report("best", scores, epoch=epoch) == "go on"

    def test_trials_may_fail_at_any_time(self) -> None:
        """Before they report, and after; the others go on."""
        scheduler = self._started()
        scheduler.finished("before", "failed")
        scores, epoch = _steps(scheduler, "after", 0.5)[0]
        scheduler.report("after", scores, epoch=epoch)
        scheduler.finished("after", "failed")
        assert "completed" in {event.status for event in _run(scheduler, "min")}

    def test_a_trial_that_has_ended_reports_no_more(self) -> None:
        """Nor does it end twice."""
        scheduler = self._started()
        scheduler.finished("0000", "stopped")
        with pytest.raises(RecipeError, match="trial '0000' has ended already"):
            scheduler.report("0000", {0: 0.5}, epoch=1)
        with pytest.raises(RecipeError, match="trial '0000' has ended already"):
            scheduler.finished("0000", "completed")

    def test_a_report_without_a_score_is_refused(self) -> None:
        """There is nothing to decide on."""
        with pytest.raises(RecipeError, match="trial '0000' reports no score"):
            self._started().report("0000", {}, epoch=1)

    def test_it_must_be_started_first_and_once(self) -> None:
        """The error says what to call."""
        scheduler = self.make_scheduler()
        with pytest.raises(RecipeError, match=r"is not started; call start\("):
            scheduler.report("0000", {0: 0.5}, epoch=1)
        with pytest.raises(RecipeError, match=r"is not started; call start\("):
            scheduler.finished("0000", "failed")
        with pytest.raises(RecipeError, match="mode must be one of min, max, got 'mim'"):
            scheduler.start(mode="mim", num_folds=2, epochs=2)  # type: ignore[arg-type]
        scheduler.start(mode="min", num_folds=NUM_FOLDS, epochs=EPOCHS)
        with pytest.raises(RecipeError, match="is started already"):
            scheduler.start(mode="min", num_folds=NUM_FOLDS, epochs=EPOCHS)

    def test_settings_are_plain_and_hold_one_name(self) -> None:
        """They survive JSON, and do not change while the study runs."""
        scheduler = self._started()
        settings = scheduler.settings()
        _run(scheduler, "min")
        assert len(settings) == 1
        assert json.loads(json.dumps(settings)) == settings == scheduler.settings()

    def _started(self, mode: Mode = "min") -> Scheduler:
        scheduler = self.make_scheduler()
        scheduler.start(mode=mode, num_folds=NUM_FOLDS, epochs=EPOCHS)
        return scheduler


@dataclass(frozen=True)
class _Event:
    """One call to a scheduler and what it said: a report, or (without scores) the end."""

    trial: str
    scores: dict[int, float]
    epoch: int
    status: Status | None = None
    decision: Decision | None = None

    def tell(self, scheduler: Scheduler) -> Decision | None:
        """Make the same call."""
        if self.status is None:
            return scheduler.report(self.trial, self.scores, epoch=self.epoch)
        scheduler.finished(self.trial, self.status)
        return None


def _decisions(events: list[_Event]) -> list[tuple[str, Decision | None]]:
    return [(event.trial, event.decision) for event in events]


def _run(scheduler: Scheduler, mode: Mode, *, times: int = 1) -> list[_Event]:
    """Let three trials at once take turns; a trial ends when it is told to, or has all."""
    events: list[_Event] = []
    waiting = [f"{number:04d}" for number in range(NUM_TRIALS)]
    running: dict[str, int] = {}
    sign = 1.0 if mode == "min" else -1.0
    while waiting or running:
        while waiting and len(running) < 3:
            running[waiting.pop(0)] = 0
        for trial, step in list(running.items()):
            steps = _steps(scheduler, trial, sign * _quality(trial), sign=sign)
            decisions = [
                scheduler.report(trial, steps[step][0], epoch=steps[step][1]) for _ in range(times)
            ]
            events.append(_Event(trial, *steps[step], decision=decisions[-1]))
            running[trial] += 1
            if decisions[0] == "stop" or step == len(steps) - 1:
                status: Status = "stopped" if decisions[0] == "stop" else "completed"
                scheduler.finished(trial, status)
                events.append(_Event(trial, {}, 0, status=status))
                del running[trial]
    return events


def _steps(
    scheduler: Scheduler, trial: str, level: float, *, sign: float = 0.0
) -> list[tuple[dict[int, float], int]]:
    """Return what a trial reports, in order: the scores of its folds, and their epoch."""
    noise = np.random.default_rng(sum(map(ord, trial))).normal(0, 0.2, (NUM_FOLDS, EPOCHS))
    table = level + sign * (noise + 1 / np.arange(1, EPOCHS + 1))

    def scores(folds: int, epoch: int) -> tuple[dict[int, float], int]:
        return {fold: float(table[fold, epoch - 1]) for fold in range(folds)}, epoch

    if scheduler.fold_order == "together":
        return [scores(NUM_FOLDS, epoch) for epoch in range(1, EPOCHS + 1)]
    return [scores(folds, EPOCHS) for folds in range(1, NUM_FOLDS + 1)]


def _quality(trial: str) -> float:
    """Return a loss between 0 and 2, in no order."""
    return sum(map(ord, trial)) * 7 % 11 / 5

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher as TuneSearcher

from rayfold.journal import Journal, read_journal
from rayfold.results import FoldResult, Mode
from rayfold.schedulers import Halving, Racing, Scheduler
from rayfold.search import Random
from rayfold.space import Int, SearchSpace
from rayfold.tuning.adapter import SchedulerAdapter, SearcherAdapter
from rayfold.tuning.foreign import ForeignScheduler
from rayfold.tuning.ledger import Ledger
from rayfold.tuning.ledgers import Ledgers


def fold(number: int, score: float) -> dict[str, Any]:
    """Return a fold as a step of a trial reports it."""
    return FoldResult(
        fold=number,
        score=score,
        history=({"val_loss": score},),
        started_at=1.0,
        finished_at=2.0,
        busy_seconds=0.5,
        weights="weights.safetensors",
        predictions="predictions.safetensors",
    ).to_dict()


class Study:
    """A ledger of at most 2 trials, its adapters, and which groups were given back."""

    def __init__(
        self,
        journal: Journal,
        scheduler: Scheduler | None = None,
        tune_scheduler: TrialScheduler | None = None,
    ) -> None:
        searcher = Random()
        searcher.start(SearchSpace({"batch_size": Int(1, 64)}), mode="min")
        if scheduler is not None:
            scheduler.start(mode="min", num_folds=2, epochs=4)
        self.ledger = Ledger(searcher, journal, num_trials=2, scheduler=scheduler)
        ledgers = Ledgers({"digits": self.ledger})
        self.released: list[tuple[str, str]] = []
        self.num_changes = 0
        self.faults: list[str | None] = []
        self.losses: list[str] = []
        self.adapter = SearcherAdapter(
            ledgers,
            release=self._release,
            on_change=self._count,
            on_fault=self.faults.append,
            on_loss=self.losses.append,
        )
        self.scheduler = SchedulerAdapter(
            ledgers,
            release=self._release,
            on_change=self._count,
            on_fault=self.faults.append,
            tune_scheduler=tune_scheduler,
        )

    def add(self, id: str) -> TuneTrial:
        """Have Tune make a trial of the next suggestion."""
        trial: Any = SimpleNamespace(
            trial_id=id, config=self.adapter.suggest(id), status=TuneTrial.RUNNING
        )
        self.scheduler.on_trial_add(None, trial)
        return trial

    def step(self, trial: TuneTrial, **result: Any) -> str:
        """Report a step as Tune does: to the scheduler, then to the searcher unless it stops."""
        action = self.scheduler.on_trial_result(None, trial, result)
        if action == TrialScheduler.STOP:
            self.end(trial, **result)
        else:
            self.adapter.on_trial_result(trial.trial_id, result)
        return action

    def end(self, trial: TuneTrial, **result: Any) -> None:
        self.scheduler.on_trial_complete(None, trial, result)
        self.adapter.on_trial_complete(trial.trial_id, result)

    def _release(self, study: str, trial: str) -> None:
        self.released.append((study, trial))

    def _count(self) -> None:
        self.num_changes += 1

    @property
    def events(self) -> list[str]:
        return [entry.event for entry in read_journal(self.ledger._journal.path)]


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        yield Study(journal)


def test_tunes_trials_get_ours_with_their_hyperparameters(study: Study) -> None:
    first, second = study.adapter.suggest("a1"), study.adapter.suggest("b2")
    assert [first["trial"], second["trial"]] == ["0000", "0001"]
    assert list(first["hyperparameters"]) == ["batch_size"]
    assert study.adapter.suggest("c3") == TuneSearcher.FINISHED


def test_a_complete_trial_is_booked_with_the_folds_of_every_step(study: Study) -> None:
    """Tune hands a trial's last step to on_trial_complete alone."""
    trial = study.add("a1")
    assert study.step(trial, score=0.25, folds=[fold(0, 0.25)]) == TrialScheduler.CONTINUE
    assert study.ledger.num_folds_done == 1
    study.end(trial, score=0.5, folds=[fold(1, 0.75)], complete=True)
    [result] = study.ledger.results
    assert (result.id, result.status, result.score) == ("0000", "completed", 0.5)
    assert study.released == [("digits", "0000")]
    assert study.events == ["suggestion", "fold", "fold", "trial"]
    assert study.num_changes == 3


def test_an_error_of_the_training_fails_the_trial_with_its_text(study: Study) -> None:
    study.adapter.suggest("a1")
    study.adapter.on_trial_complete("a1", {"folds": [], "error": "ValueError: no", "done": True})
    [result] = study.ledger.results
    assert (result.status, result.error) == ("failed", "ValueError: no")


def test_a_trial_whose_actor_died_has_no_end_and_gives_its_groups_back(study: Study) -> None:
    """No model runs there, so that it says nothing of the configuration."""
    study.adapter.suggest("a1")
    study.adapter.on_trial_complete("a1", None, error=True)
    assert study.losses == ["the actor of trial 0000 died again and again; Ray's logs tell why"]
    assert study.events == ["suggestion"]
    assert study.released == [("digits", "0000")]


def prepared(scheduler: TrialScheduler, mode: Mode) -> TrialScheduler:
    foreign = ForeignScheduler(scheduler)
    foreign.start(mode=mode, num_folds=2, epochs=3)
    return foreign.prepared


def test_a_fault_of_the_machine_is_told_and_the_trial_goes_on(tmp_path: Path) -> None:
    """A scheduler of Tune hears nothing of it, though the trial has a score by then."""
    tunes = prepared(AsyncHyperBandScheduler(reduction_factor=2), "min")
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        study = Study(journal, tune_scheduler=tunes)
        trial = study.add("a1")
        fault = {"score": 0.25, "folds": [fold(0, 0.25)], "fault": "No space left on device"}
        assert study.step(trial, **fault) == TrialScheduler.CONTINUE
        study.end(trial, score=0.5, folds=[fold(1, 0.75)], complete=True, training_iteration=3)
        [result] = study.ledger.results
        assert (result.status, len(result.folds)) == ("completed", 2)
        assert study.faults == ["No space left on device", None]


def test_a_fault_of_the_machine_at_the_end_of_a_run_leaves_the_trial_open(study: Study) -> None:
    trial = study.add("a1")
    study.ledger.close()
    assert study.step(trial, score=None, fault="No space left on device") == TrialScheduler.STOP
    assert study.events == ["suggestion"]


def test_a_trial_that_tune_stops_early_is_stopped_with_the_folds_it_has(study: Study) -> None:
    study.adapter.suggest("a1")
    study.adapter.on_trial_complete("a1", {"folds": [fold(0, 0.25)], "complete": False})
    [result] = study.ledger.results
    assert (result.status, result.score, len(result.folds)) == ("stopped", 0.25, 1)


def test_an_interrupted_trial_keeps_its_folds_and_has_no_end(study: Study) -> None:
    study.adapter.suggest("a1")
    study.adapter.on_trial_complete(
        "a1", {"folds": [fold(0, 0.25)], "interrupted": True, "done": True}
    )
    assert study.ledger.results == []
    assert study.events == ["suggestion", "fold"]
    assert study.released == [("digits", "0000")]


def test_a_closed_ledger_ends_tunes_search(study: Study) -> None:
    study.ledger.close()
    assert study.adapter.suggest("a1") == TuneSearcher.FINISHED


def test_a_trial_that_our_scheduler_drops_is_stopped_with_its_folds(tmp_path: Path) -> None:
    """The first one's worst fold is 0.5, and the second one begins with 0.6."""
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        study = Study(journal, Racing(rule="forgiving", top=0))
        first, second = study.add("a1"), study.add("b2")
        study.step(first, score=0.25, folds=[fold(0, 0.25)])
        study.end(first, score=0.375, folds=[fold(1, 0.5)], complete=True)
        assert study.step(second, score=0.6, folds=[fold(0, 0.6)]) == TrialScheduler.STOP
        assert study.released == [("digits", "0000"), ("digits", "0001")]
        stopped = study.ledger.results[1]
        assert (stopped.status, stopped.score, len(stopped.folds)) == ("stopped", 0.6, 1)
        assert study.events == ["suggestion"] * 2 + ["fold", "fold", "trial", "fold", "trial"]


def test_a_trial_dropped_after_an_epoch_is_stopped_with_the_score_of_it(tmp_path: Path) -> None:
    """The mean of 0.5 and 0.75 is 0.625; Tune tells the step of a stopped trial twice."""
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        study = Study(journal, Halving(reduction=2))
        first, second = study.add("a1"), study.add("b2")
        study.step(first, score=0.5, epoch=1, epoch_scores=[(0, 0.25), (1, 0.75)])
        scores = [(0, 0.5), (1, 0.75)]
        assert study.step(second, score=0.625, epoch=1, epoch_scores=scores) == "STOP"
        [stopped] = study.ledger.results
        assert (stopped.id, stopped.status, stopped.score) == ("0001", "stopped", 0.625)
        assert (stopped.standard_error, stopped.folds) == (0.125, ())
        assert study.events == ["suggestion"] * 2 + ["epoch", "epoch", "trial"]


def test_a_scheduler_of_tune_decides_by_the_score(tmp_path: Path) -> None:
    tunes = prepared(AsyncHyperBandScheduler(reduction_factor=2), "min")
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        study = Study(journal, tune_scheduler=tunes)
        first, second = study.add("a1"), study.add("b2")
        assert study.step(first, score=0.5, training_iteration=1) == TrialScheduler.CONTINUE
        assert study.step(second, score=0.75, training_iteration=1) == TrialScheduler.STOP
        assert [result.id for result in study.ledger.results] == ["0001"]


@pytest.mark.parametrize("result", [{"score": None, "error": "ValueError"}, {"interrupted": True}])
def test_a_scheduler_of_tune_never_sees_a_result_without_a_score(
    tmp_path: Path, result: dict[str, Any]
) -> None:
    """Its arithmetic would fail on it."""
    tunes = prepared(AsyncHyperBandScheduler(reduction_factor=2), "min")
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        study = Study(journal, tune_scheduler=tunes)
        trial = study.add("a1")
        assert study.step(trial, score=None) == TrialScheduler.CONTINUE
        study.end(trial, **result, training_iteration=1)
        assert study.released == [("digits", "0000")]


def test_a_scheduler_that_knows_of_divergence_decides_whether_it_is_the_end(
    tmp_path: Path,
) -> None:
    class EndsIt(FIFOScheduler):
        def on_trial_result(self, tune_controller: Any, trial: Any, result: Any) -> str:
            return str(TrialScheduler.STOP if result["diverged"] else TrialScheduler.CONTINUE)

    with Journal.open(tmp_path / "journal.jsonl") as journal:
        study = Study(journal, tune_scheduler=EndsIt())
        trial = study.add("a1")
        result = {"score": None, "error": "fold 0 diverged.", "diverged": True}
        assert study.step(trial, **result) == TrialScheduler.STOP
        [ended] = study.ledger.results
        assert (ended.status, ended.error) == ("failed", "fold 0 diverged.")


def test_a_paused_trial_gives_its_groups_back_once_its_state_is_saved(tmp_path: Path) -> None:
    class Pausing(FIFOScheduler):
        def on_trial_result(self, tune_controller: Any, trial: Any, result: Any) -> str:
            return TrialScheduler.PAUSE

    with Journal.open(tmp_path / "journal.jsonl") as journal:
        study = Study(journal, tune_scheduler=Pausing())
        trial: Any = study.add("a1")
        controller = SimpleNamespace(get_trials=lambda: [trial])
        assert study.step(trial, score=0.5) == TrialScheduler.PAUSE
        assert study.scheduler.choose_trial_to_run(controller) is None
        assert study.released == []
        trial.status = TuneTrial.PAUSED
        assert study.scheduler.choose_trial_to_run(controller) is trial
        assert study.released == [("digits", "0000")]

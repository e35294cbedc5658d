"""A race on a group of two workers until its time is up, gone on with two groups for each trial.

The values of the trials decide how long they take and how they end: with all rows in one batch a
fold takes a second, with one row in a batch a minute, and a rate of 1e-6 learns nothing. Two of
them are under way at a time, so that either of the first two may be first at the groups.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import rayfold as rf
from rayfold.journal import Entry, read_journal
from rayfold.results import Config, TrialResult
from rayfold.study import execution
from rayfold.tracking import read_study
from rayfold.training.checkpoint import newest_epoch

NUM_FOLDS = 3
MAX_TIME = 3600.0
MAX_TIME_PER_TRIAL = 16.0

RATE = "optimizer.learning_rate"
GOOD: Config = {RATE: 3e-3, "batch_size": 240}
BEST: Config = {RATE: 2e-2, "batch_size": 240}
BAD: Config = {RATE: 1e-6, "batch_size": 240}
SLOW: Config = {RATE: 1e-4, "batch_size": 1}
TRIALS = {
    "0000": GOOD,
    "0001": GOOD,
    "0002": BAD,
    "0003": SLOW,
    "0004": GOOD,  # it may have taken the one group that was ready first
    "0005": BAD,
    "0006": BEST,
}


class Clock:
    """A clock that goes on by itself, and jumps by an hour once a trial has a checkpoint."""

    def __init__(self, trial: Path) -> None:
        self._trial = trial

    def monotonic(self) -> float:
        late = any(newest_epoch(self._trial / f"fold_{fold}") for fold in range(NUM_FOLDS))
        return time.monotonic() + MAX_TIME * late


def make_study(digits: Path, storage: Path, groups: rf.Groups, limit: float | None) -> rf.Study:
    return rf.Study(
        "race",
        model="mlp",
        data=rf.HDF5(digits),
        space=rf.SearchSpace({RATE: rf.Float(1e-6, 1.0, log=True), "batch_size": rf.Int(1, 256)}),
        searcher=rf.search.Fixed(list(TRIALS.values())),
        scheduler=rf.schedulers.Racing(top=0.0),
        max_time_per_trial=limit,
        folds=rf.Folds(NUM_FOLDS),
        epochs=100,
        parameters={"model.hidden": 16, "optimizer.name": "adam"},
        groups=groups,
        storage=storage,
        checkpoint_seconds=1.0,
    )


@dataclass(frozen=True, kw_only=True)
class Race:
    """Two runs, the first one out of time; and what it had left."""

    folder: Path
    first: rf.StudyResult
    entries: list[Entry]
    slow_epoch: int
    second: rf.StudyResult

    @property
    def trials(self) -> dict[str, TrialResult]:
        return {trial.id: trial for trial in self.second.trials}


@pytest.fixture(scope="module")
def race(
    digits: Path, ray_session: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Race]:
    storage = tmp_path_factory.mktemp("a store")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        one_of_two = rf.Groups(1, 1, workers=2, cpus_per_worker=0.5)
        study = make_study(digits, storage, one_of_two, None)
        with patch.context() as for_the_first_run:
            clock = Clock(study.folder / "trials" / "0003")
            for_the_first_run.setattr(execution, "time", clock)
            first = study.run(max_time=MAX_TIME, show_progress=False)
        slow_epoch = newest_epoch(study.folder / "trials" / "0003" / "fold_0")
        entries = read_journal(study.folder / "journal.jsonl")
        two_each = rf.Groups(2, 2, per_trial=2, cpus_per_worker=0.5)
        again = make_study(digits, storage, two_each, MAX_TIME_PER_TRIAL)
        second = again.run(show_progress=False)
        yield Race(
            folder=study.folder,
            first=first,
            entries=entries,
            slow_epoch=slow_epoch,
            second=second,
        )


def test_a_study_out_of_time_says_so_and_leaves_the_trial_in_training_without_an_end(
    race: Race,
) -> None:
    """Its fold has a checkpoint of the last epoch instead."""
    assert (race.first.out_of_time, race.first.interrupted) == (True, False)
    assert race.entries[-1].event == "run"
    assert race.entries[-1].fields == {"state": "out_of_time"}
    assert [trial.id for trial in race.first.trials] == ["0000", "0001", "0002"]
    assert 0 < race.slow_epoch < 100


def test_what_was_complete_is_kept_and_the_rest_gone_on_with(race: Race) -> None:
    assert not race.second.out_of_time
    assert race.second.trials[:3] == race.first.trials
    assert {trial: result.config for trial, result in race.trials.items()} == TRIALS
    new = read_journal(race.folder / "journal.jsonl")[len(race.entries) :]
    assert sorted(e.fields["trial"] for e in new if e.event == "trial") == [
        "0003",
        "0004",
        "0005",
        "0006",
    ]
    assert "0003" not in [e.fields["trial"] for e in new if e.event == "suggestion"]
    assert not list(race.folder.rglob("*.pt"))


def test_a_race_on_two_workers_drops_a_weak_trial_after_its_first_fold(race: Race) -> None:
    weak = race.trials["0002"]
    assert (weak.status, [fold.fold for fold in weak.folds]) == ("stopped", [0])
    assert "completed" in {race.trials[trial].status for trial in ("0000", "0001")}


def test_a_race_on_two_groups_for_each_trial_drops_it_after_a_fold_or_two(race: Race) -> None:
    weak = race.trials["0005"]
    assert weak.status == "stopped"
    assert weak.folds
    assert {fold.fold for fold in weak.folds} <= {0, 1}
    assert weak.score == pytest.approx(sum(fold.score for fold in weak.folds) / len(weak.folds))
    assert race.second.best is not None
    assert race.second.best.config in (GOOD, BEST)  # a busy machine may stop the best one in time
    assert len(race.second.best.folds) == NUM_FOLDS


def test_a_trial_that_takes_too_long_ends_as_stopped_with_what_it_has(race: Race) -> None:
    slow = race.trials["0003"]
    assert (slow.status, slow.error) == ("stopped", None)
    assert len(slow.folds) < NUM_FOLDS
    assert (slow.score is None) == (not slow.folds)


def test_mlflow_has_the_same_ends(race: Race) -> None:
    logged = read_study("race", storage=race.folder.parent, completed_only=False)
    assert {trial.id: trial.status for trial in logged.trials} == {
        trial.id: trial.status for trial in race.second.trials
    }

"""A race on two groups of two workers for each trial, with a limit of time for trials and study.

The values of the trials decide how long they take and how they end: a small model with all rows in
one batch takes a second for a fold, a large one with a row in a batch a minute, and a rate of 1e-6
learns nothing.
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

pytestmark = pytest.mark.slow

NUM_FOLDS = 3
EPOCHS = 25
MAX_TIME = 3600.0
MAX_TIME_PER_TRIAL = 30.0

RATE, WIDTH = "optimizer.learning_rate", "model.hidden"
GOOD: Config = {RATE: 1e-2, WIDTH: 16, "batch_size": 240}
BEST: Config = {RATE: 3e-2, WIDTH: 16, "batch_size": 240}
BAD: Config = {RATE: 1e-6, WIDTH: 16, "batch_size": 240}
SLOW: Config = {RATE: 1e-4, WIDTH: 256, "batch_size": 1}
TRIALS = {
    "0000": GOOD,  # its time begins before the second group is ready, and may end there
    "0001": GOOD,
    "0002": SLOW,
    "0003": BAD,
    "0004": BEST,
    "0005": SLOW,
}
LAST = "0005"


class Clock:
    """A clock that goes on by itself, and jumps by an hour once a trial has a checkpoint."""

    def __init__(self, trial: Path) -> None:
        self._trial = trial

    def monotonic(self) -> float:
        late = any(newest_epoch(self._trial / f"fold_{fold}") for fold in range(NUM_FOLDS))
        return time.monotonic() + MAX_TIME * late


@dataclass(frozen=True, kw_only=True)
class Race:
    """A run that was out of time; and what it has left."""

    folder: Path
    result: rf.StudyResult
    entries: list[Entry]

    @property
    def trials(self) -> dict[str, TrialResult]:
        return {trial.id: trial for trial in self.result.trials}


@pytest.fixture(scope="module")
def race(
    digits: Path, ray_session: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Race]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        study = rf.Study(
            "race",
            model="mlp",
            data=rf.HDF5(digits),
            space=rf.SearchSpace(
                {
                    RATE: rf.Float(1e-6, 1.0, log=True),
                    WIDTH: rf.Int(1, 256, log=True),
                    "batch_size": rf.Int(1, 256),
                }
            ),
            searcher=rf.search.Fixed(list(TRIALS.values())),
            scheduler=rf.schedulers.Racing(top=0.0),
            max_time_per_trial=MAX_TIME_PER_TRIAL,
            folds=rf.Folds(NUM_FOLDS),
            epochs=EPOCHS,
            parameters={"optimizer.name": "adam"},
            groups=rf.Groups(2, 2, per_trial=2, workers=2, cpus_per_worker=0.5),
            storage=tmp_path_factory.mktemp("a store"),
            checkpoint_seconds=1.0,
        )
        with patch.context() as for_the_run:
            for_the_run.setattr(execution, "time", Clock(study.folder / "trials" / LAST))
            result = study.run(max_time=MAX_TIME, show_progress=False)
        entries = read_journal(study.folder / "journal.jsonl")
        yield Race(folder=study.folder, result=result, entries=entries)


def test_a_study_out_of_time_says_so_and_leaves_the_trial_in_training_without_an_end(
    race: Race,
) -> None:
    """Its folds have checkpoints of their last epochs instead, with which it can be gone on."""
    assert (race.result.out_of_time, race.result.interrupted) == (True, False)
    assert race.entries[-1].event == "run"
    assert race.entries[-1].fields == {"state": "out_of_time"}
    assert {trial: result.config for trial, result in race.trials.items()} == {
        trial: config for trial, config in TRIALS.items() if trial != LAST
    }
    assert [e.fields["trial"] for e in race.entries if e.event == "suggestion"] == [*TRIALS]
    assert 0 < newest_epoch(race.folder / "trials" / LAST / "fold_0") < EPOCHS
    states = race.folder.rglob("*.pt")
    assert {path.relative_to(race.folder).parts[1] for path in states} == {LAST}


def test_a_weak_trial_is_dropped_after_a_fold_or_two(race: Race) -> None:
    weak = race.trials["0003"]
    assert weak.status == "stopped"
    assert weak.folds
    assert {fold.fold for fold in weak.folds} <= {0, 1}
    assert weak.score == pytest.approx(sum(fold.score for fold in weak.folds) / len(weak.folds))
    assert race.result.best is not None
    assert race.result.best.config in (GOOD, BEST)
    assert len(race.result.best.folds) == NUM_FOLDS


def test_a_trial_that_takes_too_long_ends_as_stopped_with_what_it_has(race: Race) -> None:
    slow = race.trials["0002"]
    assert slow.status == "stopped"
    assert len(slow.folds) < NUM_FOLDS
    assert (slow.score is None) == (not slow.folds)
    assert slow.error == (
        None if slow.folds else "its time (max_time_per_trial) was up before its first result"
    )


def test_mlflow_has_the_same_ends(race: Race) -> None:
    logged = read_study("race", storage=race.folder.parent, completed_only=False)
    assert {trial.id: trial.status for trial in logged.trials if trial.id != LAST} == {
        trial.id: trial.status for trial in race.result.trials
    }

"""A study that parts of Ray Tune search and end early, in place of ours."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

import rayfold as rf
from rayfold.journal import read_journal
from rayfold.tracking import read_study

pytestmark = pytest.mark.slow

NUM_FOLDS = 3
GROUPS = rf.Groups(1, 1, cpus_per_worker=0.5)


@pytest.fixture(scope="module")
def foreign(
    digits: Path, ray_session: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[rf.Study, rf.StudyResult]]:
    """Optuna's TPE and Ray Tune's ASHA, over all folds of a trial together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        study = rf.Study(
            "foreign",
            model="mlp",
            data=rf.HDF5(digits),
            space=rf.SearchSpace(
                {
                    "optimizer.name": rf.Choice("sgd", "adam"),
                    "optimizer.momentum": rf.Float(0.0, 0.9, when={"optimizer.name": "sgd"}),
                    "optimizer.learning_rate": rf.Float(1e-6, 1e-2, log=True),
                }
            ),
            searcher=OptunaSearch(seed=3),
            scheduler=ASHAScheduler(max_t=100, grace_period=1, reduction_factor=2),
            folds=rf.Folds(NUM_FOLDS, order="together"),
            epochs=5,
            parameters={"model.hidden": 16},
            groups=GROUPS,
            storage=tmp_path_factory.mktemp("a store"),
        )
        yield study, study.run(8, show_progress=False)


def test_parts_of_ray_tune_search_and_stop_by_our_score(
    foreign: tuple[rf.Study, rf.StudyResult],
) -> None:
    study, result = foreign
    statuses = Counter(trial.status for trial in result.trials)
    assert statuses["completed"] >= 1
    assert statuses["stopped"] >= 2
    assert statuses.total() == 8
    epochs = Counter(
        entry.fields["trial"]
        for entry in read_journal(study.folder / "journal.jsonl")
        if entry.event == "epoch"
    )
    for trial in result.trials:
        study.specification.space.check(trial.config)
        assert trial.score is not None
        assert (epochs[trial.id] == 5) == (trial.status == "completed")
        assert len(trial.folds) == (NUM_FOLDS if trial.status == "completed" else 0)


def test_a_trial_that_was_stopped_has_the_score_of_its_last_epoch(
    foreign: tuple[rf.Study, rf.StudyResult],
) -> None:
    study, result = foreign
    stopped = next(trial for trial in result.trials if trial.status == "stopped")
    *_, last = [
        dict(entry.fields["scores"])
        for entry in read_journal(study.folder / "journal.jsonl")
        if entry.event == "epoch" and entry.fields["trial"] == stopped.id
    ]
    assert sorted(last) == [0, 1, 2]
    assert stopped.score == pytest.approx(sum(last.values()) / NUM_FOLDS)
    logged = read_study("foreign", storage=study.storage, completed_only=False)
    run = next(trial for trial in logged.trials if trial.id == stopped.id)
    assert (run.status, run.folds) == ("stopped", ())
    assert run.score == pytest.approx(stopped.score)

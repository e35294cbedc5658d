"""Studies on a real Ray, with a real journal and a real MLflow store, to an exported ensemble."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import nn

import rayfold as rf
from rayfold.errors import RecipeError
from rayfold.journal import read_journal
from rayfold.orders import FoldTask
from rayfold.tracking import read_study
from rayfold.training import FoldRun, Settings, SingleProcess, StudySetup

pytestmark = pytest.mark.usefixtures("ray_session")

SPACE = rf.SearchSpace(
    {
        "model.width": rf.Choice(16, 32, 33),
        "optimizer.learning_rate": rf.Float(1e-3, 3e-2, log=True),
        "batch_size": rf.Choice(16, 32),
    }
)


class Picky(nn.Module):
    """A small model that refuses to work with an odd ``width``."""

    def __init__(self, *, input_shape: tuple[int, ...], num_outputs: int, width: int = 2) -> None:
        super().__init__()
        if width % 2:
            raise RuntimeError(f"an odd width of {width}")
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(int(np.prod(input_shape)), width),
            nn.Linear(width, num_outputs),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layers(features)
        return outputs


def make_study(digits: Path, storage: Path, **arguments: Any) -> rf.Study:
    settings: dict[str, Any] = {
        "model": Picky,
        "data": rf.HDF5(digits, test_fraction=0.2),
        "space": SPACE,
        "searcher": rf.search.Genetic(population=3, generations=2, random_seed=5),
        "folds": rf.Folds(3, random_seed=1),
        "epochs": 3,
        "groups": rf.Groups(2, 2, per_trial=2, cpus_per_worker=0.5),
        "fold_order": "together",
        "storage": storage,
        **arguments,
    }
    return rf.Study("digits", **settings)


@pytest.fixture(scope="module")
def finished(
    digits: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, rf.StudyResult]:
    """A study of five trials, whose folds advance together on two groups, and its folder."""
    storage = tmp_path_factory.mktemp("store")
    shutil.copy(empty_store, storage)
    return storage, make_study(digits, storage).run(show_progress=False)


def test_the_journal_holds_every_event_once(finished: tuple[Path, rf.StudyResult]) -> None:
    storage, result = finished
    entries = read_journal(storage / "digits" / "journal.jsonl")
    suggested = [entry.fields["trial"] for entry in entries if entry.event == "suggestion"]
    ended = [entry.fields["trial"] for entry in entries if entry.event == "trial"]
    folds = Counter(entry.fields["trial"] for entry in entries if entry.event == "fold")
    assert suggested == sorted(ended) == ["0000", "0001", "0002", "0003", "0004"]
    assert folds == {trial.id: 3 for trial in result.trials if trial.status == "completed"}
    assert result.uploaded
    assert not result.interrupted


def test_a_failing_trial_keeps_its_traceback_and_the_others_go_on(
    finished: tuple[Path, rf.StudyResult],
) -> None:
    storage, result = finished
    statuses = {trial.config["model.width"]: trial.status for trial in result.trials}
    assert statuses[33] == "failed"
    assert {status for width, status in statuses.items() if width != 33} == {"completed"}
    failed = next(trial for trial in result.trials if trial.status == "failed")
    assert "Traceback" in (failed.error or "")
    assert "RuntimeError: an odd width of 33" in (failed.error or "")
    logged = read_study("digits", storage=storage, completed_only=False)
    assert {trial.id: trial.status for trial in logged.trials} == {
        trial.id: trial.status for trial in result.trials
    }


def test_a_second_run_trains_nothing_and_returns_the_same_trials(
    digits: Path, finished: tuple[Path, rf.StudyResult]
) -> None:
    storage, result = finished
    before = len(read_journal(storage / "digits" / "journal.jsonl"))
    again = make_study(digits, storage).run(show_progress=False)
    assert again.trials == result.trials
    events = [entry.event for entry in read_journal(storage / "digits" / "journal.jsonl")[before:]]
    assert events == ["run", "run"]


def test_the_score_is_the_mean_over_the_folds_with_its_standard_error(
    finished: tuple[Path, rf.StudyResult],
) -> None:
    for trial in finished[1].trials:
        if trial.status == "completed":
            scores = np.array([fold.score for fold in trial.folds])
            assert trial.score == pytest.approx(scores.mean())
            assert trial.standard_error == pytest.approx(scores.std(ddof=1) / np.sqrt(3))
            assert [fold.history[-1]["val_loss"] for fold in trial.folds] == scores.tolist()


def test_mlflow_holds_the_completed_trials(finished: tuple[Path, rf.StudyResult]) -> None:
    storage, result = finished
    logged = read_study("digits", storage=storage)
    completed = [trial for trial in result.trials if trial.status == "completed"]
    assert [trial.id for trial in logged.trials] == [trial.id for trial in completed]
    assert [trial.config for trial in logged.trials] == [trial.config for trial in completed]
    assert [trial.score for trial in logged.trials] == pytest.approx(
        [trial.score for trial in completed]
    )
    assert logged.description["metric"] == "val_loss"
    assert all(trial.folds == (0, 1, 2) for trial in logged.trials)


def test_nothing_of_tune_or_train_is_left_in_the_study_folder(
    finished: tuple[Path, rf.StudyResult],
) -> None:
    folder = finished[0] / "digits"
    assert sorted(path.name for path in folder.iterdir()) == [
        "journal.jsonl",
        "journal.lock",
        "trials",
    ]
    assert not list(folder.rglob("*.pt"))
    assert not list(folder.rglob("*.tmp"))


def test_the_ensemble_from_mlflow_predicts_as_its_bundle_does(
    digits: Path, finished: tuple[Path, rf.StudyResult], tmp_path: Path
) -> None:
    storage, _ = finished
    ensemble = rf.Ensemble.greedy("digits", num_members=5, storage=storage, model=Picky)
    single = rf.Ensemble.single_best("digits", storage=storage, model=Picky)
    assert ensemble.out_of_fold_loss <= single.out_of_fold_loss
    folder = ensemble.export(tmp_path / "bundle")
    bundle = rf.load_bundle(folder, models={ensemble.members[0].model: Picky})
    with h5py.File(digits) as file:
        features, labels = file["features"][:], file["labels"][:]
    np.testing.assert_allclose(
        bundle.predict_proba(features), ensemble.predict_proba(features), atol=1e-12
    )
    assert (bundle.predict(features) == labels).mean() > 0.6  # by chance: 0.1
    assert not [path for path in folder.rglob("*") if path.suffix in {".pt", ".pkl"}]


def test_a_study_that_has_changed_is_refused_and_nothing_is_written(
    digits: Path, finished: tuple[Path, rf.StudyResult]
) -> None:
    journal = finished[0] / "digits" / "journal.jsonl"
    before = journal.read_bytes()
    changed = make_study(digits, finished[0], epochs=4)
    with pytest.raises(RecipeError, match=r"study 'digits' began with epochs = 3, now it is 4"):
        changed.run(show_progress=False)
    assert journal.read_bytes() == before


def test_a_trial_gives_what_each_of_its_folds_gives_alone(
    digits: Path, finished: tuple[Path, rf.StudyResult], tmp_path: Path
) -> None:
    study = make_study(digits, tmp_path)
    trial = next(trial for trial in finished[1].trials if trial.status == "completed")
    setup = StudySetup(
        model_class=Picky,
        settings=Settings(epochs=3, metrics=("accuracy",)),
        plan=study.folds.split(study.dataset),
        folder=tmp_path / "alone",
    )
    for fold in trial.folds:
        task = FoldTask(trial=trial.id, config=trial.config, fold=fold.fold, until_epoch=3)
        run = FoldRun(task, setup=setup, data=study.dataset, strategy=SingleProcess())
        alone = run.advance(task)
        assert alone is not None
        assert fold.score == pytest.approx(alone.score, abs=1e-5)

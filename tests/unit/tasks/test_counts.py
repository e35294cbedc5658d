"""A task of a user's own is trained, combined, exported and served like those that come along."""

from pathlib import Path

import h5py
import numpy as np
import pytest

import rayfold as rf
from rayfold.ensemble import Convex, Ensemble, Greedy, predict_files
from rayfold.search import Random
from rayfold.tasks import TASKS
from tests.examples.counts import Counts
from tests.study_here import StudyHere

RATES = np.array([1.0, 6.0])
"""Of rows whose feature is 0, and 1."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """200 counts of Poisson's distribution; the feature tells which of two rates they have."""
    kind = np.arange(200) % 2
    path = tmp_path / "visits.h5"
    with h5py.File(path, "w") as file:
        file["features"] = kind[:, None].astype(np.float32)
        file["labels"] = np.random.default_rng(0).poisson(RATES[kind])
    return path


def test_counts_are_learned_by_their_own_loss_and_their_rates_are_averaged(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained for long enough, models come close to the two rates."""
    monkeypatch.setitem(TASKS, "counts", Counts())
    study = StudyHere(
        "visits",
        model="mlp",
        data=rf.HDF5(data),
        task="counts",
        holdout=rf.Holdout(0.2),
        space=rf.SearchSpace({"optimizer.learning_rate": rf.Float(0.005, 0.02)}),
        parameters={"batch_size": 16, "optimizer.name": "adam"},
        searcher=Random(random_seed=0),
        folds=rf.Folds(2),
        epochs=10,
        storage=tmp_path / "store",
    )
    result = study.run(2, show_progress=False)
    assert {trial.status for trial in result.trials} == {"completed"}
    ensemble = Ensemble.best("visits", builders=(Greedy(), Convex()), storage=study.storage)
    assert "Poisson loss" in ensemble.reason
    assert ensemble.predict(np.array([[0.0], [1.0]])) == pytest.approx(RATES, rel=0.4)
    report = ensemble.report(data)
    assert report.held_out is not None
    assert report.held_out.ensemble.loss.value == pytest.approx(report.nested.loss.value, abs=1.5)

    folder = rf.export_bundle(ensemble, tmp_path / "bundle", programs=())
    assert "the mean Poisson loss is" in (folder / "README.md").read_text()
    again = predict_files(rf.load_bundle(folder), data, held_out=True)
    assert set(again.metrics()) == {"mae", "rmse"}
    assert again.trained_on is False
    monkeypatch.delitem(TASKS, "counts")
    with pytest.raises(rf.RayfoldError, match=r"task is .counts., expected one of .*; register"):
        rf.load_bundle(folder)

"""A model file with a local import, through a study, an edit, an ensemble and a bundle."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import rayfold as rf
from rayfold.bundle import export_bundle
from rayfold.errors import RecipeError
from rayfold.journal import read_journal
from rayfold.tracking import read_study

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[1] / "examples"

NET = """
import functools
import sys
import threading
import warnings
from contextvars import ContextVar

import torch
from torch import nn

import layers

LOCK = threading.Lock()
STATE = ContextVar("state", default=1.0)
HERE = sys.modules[__name__]


@functools.lru_cache
def scale(width):
    return layers.GAIN / width


with warnings.catch_warnings():
    warnings.simplefilter("ignore")

    @torch.jit.script
    def doubled(x):
        return x * 2


class Net(nn.Module):
    def __init__(self, *, input_shape, num_outputs, width):
        super().__init__()
        with LOCK:
            self.factor = HERE.scale(width) * STATE.get() * float(doubled(torch.ones(())))
        self.layers = nn.Sequential(
            nn.Linear(*input_shape, width), nn.ReLU(), nn.Linear(width, num_outputs)
        )

    def forward(self, x):
        return self.layers(x) * self.factor
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = np.random.default_rng(0).normal(size=(60, 4))
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["features"], file["labels"] = rows, (rows[:, 0] > 0).astype("i8")
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "layers.py").write_text("GAIN = 8\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make() -> rf.Study:
    return rf.Study(
        "mine",
        model="./net.py:Net",
        data=rf.HDF5("data.h5"),
        space=rf.SearchSpace({"model.width": rf.Int(4, 16)}),
        searcher=rf.search.Random(random_seed=1),
        folds=rf.Folds(2),
        epochs=1,
        groups=rf.Groups(1, 2),
        storage="store",
    )


def test_a_models_file_and_its_imports_reach_groups_ensembles_and_bundles(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = make().run(2, show_progress=False)
    assert [trial.status for trial in result.trials] == ["completed"] * 2, result.trials[0].error

    (project / "layers.py").write_text("GAIN = 800\n")
    with pytest.raises(RecipeError, match=r"began with other code: layers\.py has changed"):
        make().run(3, show_progress=False)
    accepted = make().run(3, show_progress=False, accept_changed_code=True)
    assert [trial.status for trial in accepted.trials] == ["completed"] * 3
    entries = read_journal(project / "store" / "mine" / "journal.jsonl")
    codes = [entry.fields["code"] for entry in entries if entry.event == "suggestion"]
    assert codes[0] == codes[1] != codes[2]
    logged = read_study("mine", storage=project / "store")
    assert [trial.code for trial in logged.trials] == codes

    with caplog.at_level(logging.WARNING):
        ensemble = rf.Ensemble.single_best("mine", storage="store")
    assert [member.trial for member in ensemble.members] == ["0002"]
    assert "2 of 3 trials of study mine are left out" in caplog.text
    export_bundle(ensemble, project / "bundle", programs=())
    features = np.eye(4)
    expected = ensemble.predict_proba(features)
    for name in ("net.py", "layers.py"):
        (project / name).unlink()
    code = (
        "import sys, numpy as np, rayfold as rf\n"
        "bundle = rf.load_bundle(sys.argv[1], allow_code=True)\n"
        "print(bundle.predict_proba(np.eye(4)).tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(project / "bundle")],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.array(json.loads(done.stdout)), expected, atol=1e-6)


def test_losses_metrics_optimisers_schedules_and_builders_are_named_by_file(project: Path) -> None:
    for name in ("focal", "geometric_mean", "inverse_root", "median_loss", "sign_descent"):
        shutil.copy(EXAMPLES / f"{name}.py", project)

    def study() -> rf.Study:
        return rf.Study(
            "all",
            model="./net.py:Net",
            data=rf.HDF5("data.h5"),
            space=rf.SearchSpace(
                {"optimizer.name": rf.Choice("./sign_descent.py:SignDescent", "torch.optim:NAdam")}
            ),
            searcher=rf.search.Fixed(
                [
                    {"optimizer.name": "./sign_descent.py:SignDescent"},
                    {"optimizer.name": "torch.optim:NAdam"},
                ]
            ),
            parameters={"model.width": 8, "schedule.name": "./inverse_root.py:InverseRoot"},
            loss="./focal.py:Focal",
            metrics=["accuracy", "./geometric_mean.py:GeometricMean"],
            metric="val_GeometricMean",
            folds=rf.Folds(2),
            epochs=2,
            groups=rf.Groups(1, 2, workers=2),
            storage="store",
        )

    result = study().run(show_progress=False)
    assert [trial.status for trial in result.trials] == ["completed"] * 2, result.trials[0].error
    assert result.metrics == ("val_GeometricMean", "val_accuracy", "val_loss")
    ensemble = rf.Ensemble.build("all", "./median_loss.py:MedianLoss", storage="store")
    assert "GeometricMean" in ensemble.report().table().columns
    export_bundle(ensemble, project / "bundle", programs=())

    path = project / "sign_descent.py"
    path.write_text(path.read_text().replace("0.9", "0.8"))
    with pytest.raises(RecipeError, match=r"began with other code: sign_descent\.py has changed"):
        study().run(show_progress=False)
    for name in ("focal", "geometric_mean", "median_loss"):
        (project / f"{name}.py").unlink()
    bundle = rf.load_bundle(project / "bundle", allow_code=True)  # needs none of them
    assert bundle.predict(np.eye(4)).shape == (4,)

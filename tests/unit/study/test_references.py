"""A study whose loss, metric, optimisers and schedule are the user's own."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rayfold as rf
from rayfold.errors import EnsembleError, ModelError, RecipeError
from rayfold.tracking import read_study
from tests.study_here import StudyHere, describe

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = ("focal.py", "geometric_mean.py", "inverse_root.py", "median_loss.py", "sign_descent.py")
SIGN_DESCENT = "./sign_descent.py:SignDescent"
OWN: dict[str, Any] = {
    "loss": "./focal.py:Focal",
    "metrics": ["accuracy", "./geometric_mean.py:GeometricMean"],
    "metric": "val_GeometricMean",
    "parameters": {
        "model.hidden": 8,
        "schedule.name": "./inverse_root.py:InverseRoot",
        "schedule.unit": 2,
        "loss.gamma": 1.5,
    },
    "space": rf.SearchSpace(
        {
            "optimizer.name": rf.Choice("adamw", SIGN_DESCENT, "torch.optim:NAdam"),
            "optimizer.decay": rf.Float(0.5, 0.9, when={"optimizer.name": SIGN_DESCENT}),
        }
    ),
}


class Halved(nn.CrossEntropyLoss):
    """A loss of this module, given as the class."""

    def forward(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return super().forward(outputs, labels) / 2


@pytest.fixture
def make(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A study in a folder with copies of the examples: ``make(loss=...)``."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        shutil.copy(EXAMPLES / name, tmp_path)

    def make_study(**changes: Any) -> StudyHere:
        options: dict[str, Any] = {
            "model": "mlp",
            "data": rf.HDF5(digits),
            "searcher": rf.search.Fixed(
                [
                    {"optimizer.name": "adamw"},
                    {"optimizer.name": SIGN_DESCENT, "optimizer.decay": 0.75},
                    {"optimizer.name": "torch.optim:NAdam"},
                ]
            ),
            "folds": rf.Folds(2),
            "epochs": 2,
            "storage": tmp_path / "store",
        }
        return StudyHere("own", **{**options, **OWN, **changes})

    return make_study


def test_all_of_them_train_are_recorded_and_reach_the_ensemble(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = make()
    result = study.run(3)
    assert [trial.status for trial in result.trials] == ["completed"] * 3
    assert result.mode == "max"
    assert result.metrics == ("val_GeometricMean", "val_accuracy", "val_loss")
    description = describe(study)
    assert description["references"] == {
        "loss": ["./focal.py:Focal"],
        "metric": ["./geometric_mean.py:GeometricMean"],
        "optimizer.name": [SIGN_DESCENT, "torch.optim:NAdam"],
        "schedule.name": ["./inverse_root.py:InverseRoot"],
    }
    used = ["focal.py", "geometric_mean.py", "inverse_root.py", "sign_descent.py"]
    assert list(description["code"]["files"]) == used
    assert "torch" in description["code"]["packages"]

    ensemble = rf.Ensemble.build("own", "./median_loss.py:MedianLoss", storage=study.storage)
    assert ensemble.origin.scored == ("val_GeometricMean", "val_accuracy", "val_loss")
    table = ensemble.report().table()
    assert "GeometricMean" in table.columns

    (tmp_path / "geometric_mean.py").unlink()
    with caplog.at_level(logging.WARNING):
        report = rf.Ensemble.build("own", "uniform", storage=study.storage).report()
    assert "GeometricMean" not in report.table().columns
    assert "the report is without it" in caplog.text


def test_what_has_changed_is_refused_when_the_study_goes_on(make: Any, tmp_path: Path) -> None:
    make().run(1)
    with pytest.raises(RecipeError, match=r"loss: \./focal\.py:Focal -> cross_entropy"):
        make(loss=None, parameters={"model.hidden": 8}).plan(3)
    for name in ("focal.py", "geometric_mean.py", "inverse_root.py", "sign_descent.py"):
        path, text = tmp_path / name, (tmp_path / name).read_text()
        path.write_text(text + "\nCHANGED = True\n")
        with pytest.raises(RecipeError, match=rf"began with other code: {name} has changed"):
            make().plan(3)
        with pytest.raises(EnsembleError, match="all trials were trained with other code"):
            rf.Ensemble.greedy("own", storage=tmp_path / "store")
        path.write_text(text)


def test_classes_themselves_are_named_by_module_and_class(make: Any) -> None:
    study = make(
        loss=Halved,
        metrics=(),
        metric="val_loss",
        parameters={"optimizer.name": torch.optim.NAdam},
        space=rf.SearchSpace({"model.hidden": rf.Choice(4, 8)}),
        searcher=None,
    )
    description = describe(study)
    here = f"{Halved.__module__}:Halved"
    assert description["loss"] == here
    assert description["parameters"] == {"optimizer.name": "torch.optim.nadam:NAdam"}
    [trial] = study.run(1).trials
    assert trial.status == "completed"
    logged = read_study("own", storage=study.storage)
    assert logged.description.references == {
        "loss": [here],
        "optimizer.name": ["torch.optim.nadam:NAdam"],
    }


def test_references_train_as_names_do(make: Any, tmp_path: Path) -> None:
    """Names stand for the same classes, to the last bit."""

    def scores(**changes: Any) -> list[float | None]:
        fixed = rf.search.Fixed([{"model.hidden": 8}])
        study = make(
            metrics=(),
            metric="val_loss",
            searcher=fixed,
            space=rf.SearchSpace({"model.hidden": rf.Choice(8)}),
            **changes,
        )
        return [trial.score for trial in study.run(1).trials]

    names = {"optimizer.name": "adam", "schedule.name": "cosine"}
    references = {
        "optimizer.name": "torch.optim:Adam",
        "schedule.name": "rayfold.training.schedules:Cosine",
    }
    by_name = scores(loss="cross_entropy", parameters=names)
    by_reference = scores(
        loss="torch.nn:CrossEntropyLoss", parameters=references, storage=tmp_path / "other"
    )
    assert by_name == by_reference
    assert np.isfinite(by_name[0] or np.nan)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "./focal.py:Fokal"}, r"^loss '\./focal\.py:Fokal': .*did you mean 'Focal'"),
        ({"loss": "./gone.py:Focal"}, r"^loss \./gone\.py:Focal: cannot read .*No such file"),
        ({"loss": "torch.nn:ReLU"}, r"^loss 'torch\.nn:ReLU' takes no reduction; add the arg"),
        ({"loss": "torch.optim:SGD"}, r"^loss .* must be a subclass of torch\.nn\.Module, got"),
        ({"metrics": ["./focal.py:Focal"]}, r"^metric .* must be a subclass of rayfold\.tasks\.M"),
        (
            {"metrics": ["./geometric_mean.py:GeometricMean"], "metric": "val_Geometric"},
            r"'val_Geometric' is not computed.*did you mean 'val_GeometricMean'",
        ),
        (
            {"parameters": {"schedule.name": "torch.optim.lr_scheduler:StepLR"}},
            r"^schedule\.name .* must be a subclass of rayfold\.training\.Schedule, got",
        ),
        (
            {"parameters": {"schedule.name": "./inverse_root.py:InverseRoot", "schedule.uni": 1}},
            r"^schedule\.uni does not belong .*did you mean 'unit'",
        ),
        (
            {"parameters": {"loss.gama": 1.0}},
            r"^loss\.gama does not belong .*'gamma'",
        ),
        (
            {
                "space": rf.SearchSpace({"optimizer.name": rf.Choice("sgd", "./focal.py:Focal")}),
                "searcher": None,
            },
            r"^optimizer\.name .* must be a subclass of torch\.optim\.Optimizer, got",
        ),
        (
            {"parameters": {"model.hidden": nn.ReLU}},
            r"^parameters must have plain values, got .*ReLU.* for model\.hidden",
        ),
    ],
)
def test_what_is_wrong_is_told_in_a_line_by_the_plan(
    make: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((ModelError, RecipeError), match=message):
        make(**changes).plan(1)


def test_a_loss_of_one_value_a_batch_is_told_by_the_plan(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "focal.py"
    path.write_text(path.read_text().replace("self.gamma * losses", "self.gamma.mean() * losses"))
    path.write_text(path.read_text().replace("return (1", "return 0 * losses.mean() if 1 else (1"))
    with pytest.raises(
        ModelError, match=r"loss '\./focal\.py:Focal' must return one value per row, shape \(2,\)"
    ):
        make().plan(1)

"""Ensembles from a real MLflow store that an uploader wrote."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rayfold.bundle import export_bundle, load_bundle
from rayfold.description import HoldoutSplit
from rayfold.ensemble import Ensemble, Greedy
from rayfold.errors import EnsembleError, RecipeError, TrackingError
from rayfold.journal import Journal
from rayfold.results import FoldResult
from rayfold.tracking import Uploader, tracking_uri
from tests.descriptions import described

TRUE_CLASS = {"0000": (0.95, 0.40), "0001": (0.30, 0.95), "0002": (0.90, 0.40)}
"""Probability that each trial gives the true class of rows 0 and 1; see the greedy tests."""


class Constant(nn.Module):
    """The same probabilities for each row, times a fixed parameter."""

    def __init__(self, *, input_shape: tuple[int, ...], num_outputs: int, scale: int, depth: int):
        super().__init__()
        assert (input_shape, num_outputs, depth) == ((2, 2), 2, 3)
        self.logits = nn.Parameter(torch.zeros(2))
        self.scale = scale

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.scale * self.logits.expand(len(features), 2)


Fold = Callable[[str, int], dict[str, Any]]


def fold_tensors(trial: str, fold: int) -> dict[str, Any]:
    """Fold 0 predicts row 1 and fold 1 row 0, of class 0 both, so that order matters."""
    row = 1 - fold
    probability = TRUE_CLASS[trial][row]
    return {
        "rows": torch.tensor([row]),
        "predictions": torch.tensor([[probability, 1 - probability]]),
        "labels": torch.tensor([0]),
    }


def upload(
    storage: Path,
    *,
    trials: tuple[str, ...] = tuple(TRUE_CLASS),
    tensors: Fold = fold_tensors,
    folds: tuple[int, ...] = (0, 1),
    **changes: Any,
) -> None:
    """Write a study's journal and files as a study does, and bring them to MLflow."""
    ours: dict[str, Any] = {
        "model": "elsewhere:Constant",
        "num_rows": 2,
        "parameters": {"model.depth": 3, "batch_size": 8},
    }
    folder = storage / "digits"
    with Journal.open(folder / "journal.jsonl") as journal:
        journal.append(
            "study", name="digits", id="a" * 32, description=described(**ours | changes)
        )
        for trial in trials:
            journal.append("suggestion", trial=trial, config={"model.scale": 2})
            for fold in folds:
                place = folder / trial / f"fold_{fold}"
                place.mkdir(parents=True)
                logits = torch.tensor([float(int(trial)), float(fold)])
                save_file({"logits": logits}, place / "weights.safetensors")
                save_file(tensors(trial, fold), place / "predictions.safetensors")
                result = FoldResult(
                    fold=fold,
                    score=0.5,
                    history=({"val_loss": 0.5, "finished_at": 1e9},),
                    started_at=1e9,
                    finished_at=1e9,
                    busy_seconds=0.0,
                    weights=f"{trial}/fold_{fold}/weights.safetensors",
                    predictions=f"{trial}/fold_{fold}/predictions.safetensors",
                )
                journal.append("fold", trial=trial, result=result.to_dict())
            journal.append(
                "trial", trial=trial, status="completed", score=0.5, standard_error=0.1, error=None
            )
    assert (
        Uploader(folder, tracking_uri(storage), storage / "artifacts").start().finish(300)
    )  # returns as soon as all is there


def greedy(storage: Path, num_rounds: int = 2) -> Ensemble:
    """The selection alone: not drawn to the best one, not calibrated."""
    builder = Greedy(num_rounds, prior_rows=0, calibrate=False)
    return Ensemble.build("digits", builder, storage=storage, model=Constant)


def test_the_complement_joins_the_best_trial(storage: Path) -> None:
    """As in the tests of greedy selection: 0000 is best alone, and 0001 averages best with it."""
    upload(storage)
    shutil.rmtree(storage / "digits")
    ensemble = greedy(storage)
    assert [(member.trial, member.weight) for member in ensemble.members] == [
        ("0000", 0.5),
        ("0001", 0.5),
    ]
    assert ensemble.out_of_fold_loss == pytest.approx(-(math.log(0.625) + math.log(0.675)) / 2)
    assert ensemble.single_best_loss == pytest.approx(-(math.log(0.95) + math.log(0.4)) / 2)
    assert ensemble.members[0].config == {"model.scale": 2}
    assert ensemble.members[0].score == 0.5


def test_new_rows_get_the_mean_of_all_fold_models(storage: Path) -> None:
    """Trial 0000 has logits 2 (0, 0) and 2 (0, 1): probabilities 1/2 and 1 / (1 + e^2)."""
    upload(storage)
    ensemble = Ensemble.single_best("digits", storage=storage, model=Constant)
    assert [member.trial for member in ensemble.members] == ["0000"]
    assert ensemble.out_of_fold_loss == ensemble.single_best_loss
    probability = (1 / 2 + 1 / (1 + math.exp(2))) / 2
    images = np.zeros((3, 2, 2), np.uint8)
    assert ensemble.predict_proba(images) == pytest.approx(
        np.array([[probability, 1 - probability]] * 3)
    )
    assert ensemble.predict(images).tolist() == ["dog"] * 3


def test_an_export_predicts_the_same_and_tells_where_it_comes_from(storage: Path) -> None:
    """All forms of it: calibrated, as ensembles are by default."""
    upload(storage)
    ensemble = Ensemble.greedy("digits", 2, storage=storage, model=Constant)
    assert "temperature" in ensemble.module.combination.state_dict()
    bundle = export_bundle(ensemble, storage / "bundle")
    shutil.rmtree(storage / "artifacts")
    reference = ensemble.members[0].model
    loaded = load_bundle(bundle, models={reference: Constant})
    images = np.zeros((3, 2, 2), np.uint8)
    assert (loaded.predict_proba(images) == ensemble.predict_proba(images)).all()
    assert loaded.origin.study == "digits"
    assert loaded.origin.labels == "animals"
    assert loaded.origin.test == HoldoutSplit(fraction=0.2, random_seed=7)


def test_values_are_combined_by_squared_error(storage: Path) -> None:
    """The rows are 2 and 2; one trial says 1, the other 3."""

    def values(trial: str, fold: int) -> dict[str, Any]:
        value = {"0000": 1.0, "0001": 3.0}[trial]
        return {
            "rows": torch.tensor([fold]),
            "predictions": torch.tensor([[value, value]]),
            "labels": torch.tensor([[2.0, 2.0]]),
        }

    upload(storage, trials=("0000", "0001"), tensors=values, task="regression", classes=None)
    ensemble = greedy(storage)
    assert [member.weight for member in ensemble.members] == [0.5, 0.5]
    assert (ensemble.out_of_fold_loss, ensemble.single_best_loss) == (0.0, 1.0)
    assert ensemble.predict(np.zeros((3, 2, 2), np.uint8)).shape == (3, 2)


def test_a_trial_whose_predictions_are_not_finite_is_left_out(
    storage: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def diverged(trial: str, fold: int) -> dict[str, Any]:
        tensors = fold_tensors(trial, fold)
        if trial == "0001":
            tensors["predictions"] = torch.full((1, 2), math.nan)
        return tensors

    upload(storage, tensors=diverged)
    assert {member.trial for member in greedy(storage).members} == {"0000"}
    assert "trial 0001 is left out: its predictions are not finite" in caplog.text


def test_trials_on_other_folds_are_refused(storage: Path) -> None:
    upload(storage)
    client = mlflow.MlflowClient(tracking_uri=tracking_uri(storage))
    [experiment] = client.search_experiments(filter_string="name = 'rayfold'")
    [run] = client.search_runs([experiment.experiment_id], "tags.`rayfold.trial` = '0002'")
    client.set_tag(run.info.run_id, "rayfold.fold_digest", "0" * 64)
    with pytest.raises(
        EnsembleError,
        match="trial 0002 was validated on folds 000000000000, study 'digits' on folds ffffffffff",
    ):
        greedy(storage)


def test_a_trial_without_all_folds_is_refused(storage: Path) -> None:
    upload(storage, folds=(0,))
    with pytest.raises(EnsembleError, match="trial 0000 lacks the files of fold 1 in MLflow"):
        greedy(storage)


def test_a_trial_without_all_rows_is_refused(storage: Path) -> None:
    upload(storage, num_rows=3)
    with pytest.raises(
        EnsembleError, match="trial 0000 predicts 2 rows in 2 predictions, expected each of 3"
    ):
        greedy(storage)


def test_a_row_predicted_twice_is_refused(storage: Path) -> None:
    upload(storage, tensors=lambda trial, fold: fold_tensors(trial, 0))
    with pytest.raises(EnsembleError, match="trial 0000 predicts 1 rows in 2 predictions"):
        greedy(storage)


def test_trials_that_predict_different_rows_are_refused(storage: Path) -> None:
    def moved(trial: str, fold: int) -> dict[str, Any]:
        tensors = fold_tensors(trial, fold)
        return tensors | {"rows": tensors["rows"] + int(trial)}

    upload(storage, tensors=moved)
    with pytest.raises(EnsembleError, match="trial 0001 predicts other rows than trial 0000"):
        greedy(storage)


def test_predictions_of_another_width_are_refused(storage: Path) -> None:
    upload(storage, num_outputs=5)
    with pytest.raises(
        EnsembleError, match=r"fold 0 of trial 0000 has predictions of shape \(1, "
    ):
        greedy(storage)


def test_a_study_without_a_completed_trial_is_told(storage: Path) -> None:
    upload(storage, trials=())
    with pytest.raises(EnsembleError, match="study 'digits' has no completed trial with finite"):
        greedy(storage)


def test_wrong_arguments_are_told(storage: Path) -> None:
    with pytest.raises(
        RecipeError, match="num_rounds must be a whole number from 1 to 10000, got"
    ):
        Ensemble.greedy("digits", 0, storage=storage)
    with pytest.raises(TrackingError, match="holds no study 'digits'"):
        greedy(storage)


def test_weights_of_another_model_are_refused(storage: Path) -> None:
    upload(storage)

    class Wider(Constant):
        def __init__(
            self, *, input_shape: tuple[int, ...], num_outputs: int, scale: int, depth: int
        ):
            super().__init__(
                input_shape=input_shape, num_outputs=num_outputs, scale=scale, depth=depth
            )
            self.more = nn.Parameter(torch.zeros(1))

    with pytest.raises(
        EnsembleError, match=r"weights\.safetensors does not fit Wider: it lacks 'more'"
    ):
        Ensemble.greedy("digits", storage=storage, model=Wider)

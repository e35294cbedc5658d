"""Real studies for ``ensembles.py``: their trials' predictions, and the winner trained anew.

What a study has trained is kept in its store and its predictions in a file beside it, so that a
second call only reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits

import rayfold as rf
from rayfold.data import DataSet, Fold, FoldPlan
from rayfold.ensemble.assembly import Assembly
from rayfold.ensemble.builders import Selection
from rayfold.ensemble.candidates import read_candidates
from rayfold.ensemble.combination import WeightedMean
from rayfold.ensemble.members import arguments_of, load_model
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.ensemble.predictor import EnsembleModule, check_features, predict_each, predict_rows
from rayfold.jobs import FoldJob
from rayfold.library import model_source, resolve_model, resolve_space
from rayfold.results import TrialResult
from rayfold.tasks import infer_task
from rayfold.tracking import read_study
from rayfold.training import FoldRun, Settings, SingleProcess, StudySetup
from rayfold.training.loop import finished_result

TEST_FRACTION, NUM_REFITS = 0.25, 3


@dataclass(frozen=True, kw_only=True)
class Case:
    """A study to run.

    Attributes:
        data: ``"mnist8k"`` or ``"digits"``.
        model: ``"cnn"`` or ``"mlp"``, with its own search space.
        narrow: Whether networks have two blocks of few channels, which train in seconds.
        split: Seed of the test split, the folds and the search.
        num_trials: Random configurations.
        epochs: Epochs of each training.
        num_folds: Folds of each trial.
    """

    data: str
    model: str
    split: int
    num_trials: int
    epochs: int
    num_folds: int = 3
    narrow: bool = False

    @property
    def name(self) -> str:
        """Name of its study."""
        folds = "" if self.num_folds == 3 else f"-{self.num_folds}-folds"
        return f"{self.data}-{self.model}{folds}-{self.split}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Predicted:
    """What the trials of a study predict.

    Attributes:
        out_of_fold: Predictions of the development rows, on which everything is chosen.
        held_out: Predictions of the test rows by the averages of each trial's fold models.
        winner: The trial with the best mean score over the folds.
        refits: Predictions of the test rows by models of its configuration that were trained on
            all development rows, from several seeds; shape ``(refits, rows, outputs)``.
    """

    out_of_fold: OutOfFold
    held_out: OutOfFold
    winner: int
    refits: NDArray[np.float64]


def predictions_of(case: Case, mnist: Path | None, store: Path) -> Predicted:
    """Run a study and train its winner anew, unless that was done, and return the predictions."""
    file = store / f"{case.name}.safetensors"
    if not file.exists():
        save_file(_predict(case, mnist, store), file)
    arrays = load_file(file)
    return Predicted(
        out_of_fold=_complete(arrays["out_of_fold"], arrays["target"], arrays["folds"]),
        held_out=_complete(
            arrays["held_out"], arrays["test_target"], np.zeros(len(arrays["test_target"]), int)
        ),
        winner=int(arrays["winner"]),
        refits=arrays["refits"],
    )


def _complete(
    predictions: NDArray[np.float32], target: NDArray[np.int64], folds: NDArray[np.int64]
) -> OutOfFold:
    num_candidates, num_rows, _ = predictions.shape
    return OutOfFold(
        task=infer_task(target),
        predictions=predictions,
        present=np.ones((num_candidates, num_rows), bool),
        complete=np.ones(num_candidates, bool),
        target=target,
        folds=folds,
    )


def _predict(case: Case, mnist: Path | None, store: Path) -> dict[str, NDArray[np.generic]]:
    path = _write_digits(store / "digits.h5") if case.data == "digits" else mnist
    assert path is not None
    study = rf.Study(
        case.name,
        model=case.model,
        data=rf.HDF5(path),
        holdout=rf.Holdout(TEST_FRACTION, random_seed=case.split),
        space=_space(case),
        searcher=rf.search.Random(random_seed=case.split),
        folds=rf.Folds(case.num_folds, random_seed=case.split),
        epochs=case.epochs,
        groups=rf.Groups(1, 2),
        random_seed=case.split,
        storage=store,
    )
    result = study.run(num_trials=case.num_trials, show_progress=False)
    assert result.best is not None
    logged = read_study(case.name, storage=store)
    assembly = Assembly(read_candidates([logged], min_share=1.0), None)
    data, candidates = study.dataset, assembly.candidates
    held_out = data.subset(data.test_rows)
    features = check_features(held_out.features, assembly.signature)
    averages = [
        predict_rows(assembly.module(Selection.of_weights(alone)), features)
        for alone in np.eye(len(candidates.trials))
    ]
    names = [trial.id for _, trial in candidates.trials]
    out_of_fold = candidates.out_of_fold
    return {
        "out_of_fold": out_of_fold.predictions,
        "target": np.asarray(out_of_fold.target),
        "folds": out_of_fold.folds,
        "held_out": np.stack(averages).astype(np.float32),
        "test_target": held_out.labels,
        "winner": np.array(names.index(result.best.id)),
        "refits": _refit(case, result.best, data, features, assembly, study.folder / "refits"),
    }


def _space(case: Case) -> rf.SearchSpace:
    space = dict(resolve_space(case.model))
    if case.narrow:
        del space["model.blocks"]
        space["model.channels"] = rf.Int(4, 12, log=True)
    return rf.SearchSpace(space)


def _refit(
    case: Case,
    winner: TrialResult,
    data: DataSet,
    features: Sequence[NDArray[np.generic]],
    assembly: Assembly,
    folder: Path,
) -> NDArray[np.float64]:
    """Train a configuration on all development rows, and return what it predicts.

    The loop wants rows to validate, which change nothing: it gets one of those that it trains on.
    """
    torch.set_num_threads(2)
    rows = data.development_rows
    model_class = resolve_model(case.model)
    setup = StudySetup(
        model=model_source(case.model),
        settings=Settings(epochs=case.epochs),
        plan=FoldPlan((Fold(0, rows, rows[:1]),), data.digest),
        folder=folder,
    )
    arguments = arguments_of(
        model_class, winner.config, assembly.candidates.studies[0].description
    )
    models = []
    for number in range(NUM_REFITS):
        job = FoldJob(
            trial=f"refit-{number}", config=winner.config, fold=0, until_epoch=case.epochs
        )
        done = finished_result(job, folder)
        if done is None:
            done = FoldRun(job, setup=setup, data=data, collective=SingleProcess()).advance(job)
        assert done is not None
        shapes = data.input_shapes
        models.append(
            load_model(model_class, arguments, folder / done.weights, input_shapes=shapes)
        )
    alone = WeightedMean(torch.ones(1))
    return predict_each(EnsembleModule([models], alone, assembly.signature), features)[0]


def _write_digits(path: Path) -> Path:
    """Write scikit-learn's digits, unless they are there."""
    if not path.exists():
        digits = load_digits()
        with h5py.File(path, "w") as file:
            file["features"] = (digits.images / 16).astype(np.float32)
            file["labels"] = digits.target
    return path

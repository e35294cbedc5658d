"""Logged trials as candidates: their out-of-fold predictions, and their fold models."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file as load_tensors
from torch import nn

from rayfold.errors import EnsembleError
from rayfold.library import build_model, model_arguments
from rayfold.results import Config
from rayfold.tracking import LoggedStudy, LoggedTrial

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Predictions of rows by models that did not see them.

    Attributes:
        trials: The trials that can be members.
        predictions: Probabilities or values, float32, shape ``(trials, rows, outputs)``.
        target: Class indices, int64 of shape ``(rows,)``, or values, float32 ``(rows, outputs)``.
        rows: Row numbers of the data set, int64, sorted, shape ``(rows,)``.
    """

    trials: tuple[LoggedTrial, ...]
    predictions: NDArray[np.float32]
    target: NDArray[Any]
    rows: NDArray[np.int64]


def read_out_of_fold(study: LoggedStudy) -> OutOfFold:
    """Read the out-of-fold predictions of a study's completed trials.

    Trials whose predictions are not finite are left out, and told through ``logging``.

    Raises:
        EnsembleError: If there is no trial, trials were validated on different folds, or a trial
            lacks folds or rows.
        TrackingError: If an artifact is not there.
    """
    if not study.trials:
        raise EnsembleError(
            f"study {study.name!r} has no completed trial in MLflow; run the study first."
        )
    _check_digests(study)
    kept: list[LoggedTrial] = []
    predictions: list[NDArray[np.float32]] = []
    first: tuple[NDArray[np.int64], NDArray[Any]] | None = None
    for trial in study.trials:
        rows, predicted, target = _read_trial(trial, study.description)
        if first is None:
            first = rows, target
        elif not (np.array_equal(rows, first[0]) and np.array_equal(target, first[1])):
            raise EnsembleError(
                f"trial {trial.id} predicts other rows than trial {study.trials[0].id}; "
                "delete its run in MLflow."
            )
        if np.isfinite(predicted).all():
            kept.append(trial)
            predictions.append(predicted)
        else:
            logger.warning("trial %s is left out: its predictions are not finite.", trial.id)
    if first is None or not kept:
        raise EnsembleError(
            f"no trial of study {study.name!r} has finite predictions; "
            "train with lower learning rates."
        )
    return OutOfFold(tuple(kept), np.stack(predictions), first[1], first[0])


def arguments_of(
    model_class: type[nn.Module], config: Config, description: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a trial's models are built with: fixed and searched parameters and the data's.

    Args:
        model_class: The model.
        config: The trial's configuration.
        description: The study's description.
    """
    return model_arguments(
        model_class,
        {**description.get("parameters", {}), **config},
        input_shapes=[tuple(entry["shape"]) for entry in description["inputs"]],
        num_outputs=description["num_outputs"],
    )


def load_model(
    model_class: type[nn.Module], arguments: Mapping[str, Any], file: Path
) -> nn.Module:
    """Build a model and fill it with weights.

    Args:
        model_class: The model.
        arguments: What it is built with.
        file: The state dict as safetensors.

    Returns:
        The model, in evaluation mode.

    Raises:
        EnsembleError: If the weights do not fit the model, or the file is no safetensors.
        ModelError: If the constructor refuses the arguments.
    """
    with torch.random.fork_rng(devices=[]):  # the first weights are thrown away
        model = build_model(model_class, arguments)
    try:
        tensors = load_tensors(file)
    except SafetensorError as error:
        raise EnsembleError(f"{file.name} is no readable safetensors file: {error}.") from error
    if problem := _misfit(model.state_dict(), tensors):
        raise EnsembleError(
            f"{file.name} does not fit {model_class.__name__}: {problem}; "
            "use the class that was trained."
        )
    model.load_state_dict(tensors)
    return model.eval().requires_grad_(False)


def _check_digests(study: LoggedStudy) -> None:
    wanted = study.description["fold_digest"]
    for trial in study.trials:
        if trial.fold_digest != wanted:
            raise EnsembleError(
                f"trial {trial.id} was validated on folds {trial.fold_digest[:12] or 'unknown'}, "
                f"study {study.name!r} on folds {wanted[:12]}; only trials with the same folds "
                "can be combined."
            )


def _read_trial(
    trial: LoggedTrial, description: Mapping[str, Any]
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[Any]]:
    """Return a trial's rows, predictions and labels, sorted by row.

    Where the rows were cut into folds several times, the predictions of each row are averaged.
    """
    missing = sorted(set(range(description["num_folds"])) - set(trial.folds))
    if missing:
        raise EnsembleError(
            f"trial {trial.id} lacks the files of fold {missing[0]} in MLflow; "
            "delete its run there, or run the study again to upload them."
        )
    folds = [_read_fold(trial, fold, description["num_outputs"]) for fold in trial.folds]
    rows, predictions, labels = (
        np.concatenate([fold[part] for fold in folds]) for part in range(3)
    )
    order = np.argsort(rows, kind="stable")
    different, counts = np.unique(rows, return_counts=True)
    repeats = max(1, round(len(rows) / description["num_rows"]))
    if len(different) != description["num_rows"] or (counts != repeats).any():
        raise EnsembleError(
            f"trial {trial.id} predicts {len(different)} rows in {len(rows)} predictions, "
            f"expected each of {description['num_rows']} rows once, or equally often; delete its "
            "run in MLflow."
        )
    predictions = predictions[order].reshape(len(different), repeats, -1).mean(axis=1)
    return different, predictions, labels[order][::repeats]


def _read_fold(trial: LoggedTrial, fold: int, num_outputs: int) -> Sequence[NDArray[Any]]:
    file = trial.predictions(fold)
    try:
        arrays = load_arrays(file)
        rows, predictions, labels = (arrays[key] for key in ("rows", "predictions", "labels"))
    except (SafetensorError, KeyError) as error:
        raise EnsembleError(
            f"fold {fold} of trial {trial.id} has no readable predictions ({error}); "
            "delete its run in MLflow."
        ) from error
    if predictions.shape != (len(rows), num_outputs) or len(labels) != len(rows):
        raise EnsembleError(
            f"fold {fold} of trial {trial.id} has predictions of shape {predictions.shape} for "
            f"{len(rows)} rows and {num_outputs} outputs; delete its run in MLflow."
        )
    return rows, predictions, labels


def _misfit(model: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> str:
    """Say in what a state dict differs from the model's, or nothing."""
    if missing := [name for name in model if name not in given]:
        return f"it lacks {missing[0]!r}"
    if extra := [name for name in given if name not in model]:
        return f"it has {extra[0]!r}, which the model has not"
    for name, tensor in model.items():
        if tensor.shape != given[name].shape:
            return f"{name!r} has shape {tuple(given[name].shape)}, expected {tuple(tensor.shape)}"
    return ""

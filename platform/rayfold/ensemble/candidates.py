"""Logged trials as candidates for an ensemble, with their out-of-fold predictions."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.errors import EnsembleError
from rayfold.tracking import LoggedStudy, LoggedTrial

logger = logging.getLogger(__name__)

_SAME = ("task", "classes", "num_outputs", "inputs", "data_digest", "num_rows")
"""What studies must have in common, of their descriptions, besides the folds."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The trials that can be members of an ensemble.

    Attributes:
        studies: Where they come from; all have the same data and folds.
        trials: Index of the study in ``studies``, and the trial, of each candidate.
        out_of_fold: Their predictions, in the same order.
        rows: Row number in the data set of each predicted row, int64, sorted.
    """

    studies: tuple[LoggedStudy, ...]
    trials: tuple[tuple[int, LoggedTrial], ...]
    out_of_fold: OutOfFold
    rows: NDArray[np.int64]

    def name(self, candidate: int) -> str:
        """Return the trial's name, with its study's where there are several."""
        study, trial = self.trials[candidate]
        return trial.id if len(self.studies) == 1 else f"{self.studies[study].name}/{trial.id}"


@dataclass(frozen=True, eq=False)
class _Predictions:
    """One trial's predictions, sorted by row; the mean where a row was predicted several times."""

    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    folds: NDArray[np.int64]
    predictions: NDArray[np.float32]
    labels: NDArray[np.generic]


def read_candidates(studies: Sequence[LoggedStudy], *, min_share: float) -> Candidates:
    """Read the out-of-fold predictions of studies' trials.

    Completed trials are candidates, and those that were stopped after some folds, if these hold
    enough rows. Trials whose predictions are not finite are left out, and told through
    ``logging``.

    Args:
        studies: At least one, with all of their trials.
        min_share: Share of the rows that a trial that was stopped must have predicted, in (0, 1].

    Raises:
        EnsembleError: If no trial is complete, studies or trials were validated on different
            folds, or a completed trial lacks folds or rows.
        TrackingError: If an artifact is not there.
    """
    for study in studies:
        _check_same(studies[0], study)
    read = [
        (number, trial, found)
        for number, study in enumerate(studies)
        for trial in study.trials
        if (found := _read(trial, study, min_share)) is not None
    ]
    whole = next((entry for entry in read if entry[1].status == "completed"), None)
    if whole is None:
        names = " or ".join(repr(study.name) for study in studies)
        raise EnsembleError(
            f"study {names} has no completed trial with finite predictions in MLflow; run the "
            "study first, or train with lower learning rates."
        )
    _, first, all_rows = whole
    present = np.zeros((len(read), len(all_rows.rows)), bool)
    predictions = np.zeros((len(read), *all_rows.predictions.shape), np.float32)
    for index, (_, trial, own) in enumerate(read):
        places = np.minimum(np.searchsorted(all_rows.rows, own.rows), len(all_rows.rows) - 1)
        if not (
            np.array_equal(all_rows.rows[places], own.rows)
            and np.array_equal(all_rows.labels[places], own.labels)
        ):
            raise EnsembleError(
                f"trial {trial.id} predicts other rows than trial {first.id}; "
                "delete its run in MLflow."
            )
        present[index, places] = True
        predictions[index, places] = own.predictions
    return Candidates(
        studies=tuple(studies),
        trials=tuple((number, trial) for number, trial, _ in read),
        out_of_fold=OutOfFold(
            predictions=predictions,
            present=present,
            complete=np.asarray(present.all(axis=1)),
            target=all_rows.labels,
            folds=all_rows.folds,
        ),
        rows=all_rows.rows,
    )


def _check_same(one: LoggedStudy, other: LoggedStudy) -> None:
    """Check that trials of two studies can be combined; or of one study, that none is foreign."""
    wanted, found = one.description["fold_digest"], other.description["fold_digest"]
    if wanted != found:
        raise EnsembleError(
            f"study {one.name!r} was validated on folds {wanted[:12]}, study {other.name!r} on "
            f"folds {found[:12]}; only trials with the same folds can be combined: run both on "
            "the same data with the same folds."
        )
    for field in _SAME:
        if one.description.get(field) != other.description.get(field):
            raise EnsembleError(
                f"studies {one.name!r} and {other.name!r} differ in {field}; only trials on the "
                "same data can be combined."
            )
    for trial in other.trials:
        if trial.fold_digest != found:
            raise EnsembleError(
                f"trial {trial.id} was validated on folds {trial.fold_digest[:12] or 'unknown'}, "
                f"study {other.name!r} on folds {found[:12]}; only trials with the same folds "
                "can be combined."
            )


def _read(trial: LoggedTrial, study: LoggedStudy, min_share: float) -> _Predictions | None:
    """Return a trial's predictions, or None if it cannot be a candidate."""
    if trial.status not in ("completed", "stopped") or not trial.folds:
        if trial.status == "completed":
            _check_whole(trial, study.description, None)
        return None
    num_folds, num_rows = study.description["num_folds"], study.description["num_rows"]
    if trial.status == "stopped" and len(trial.folds) < min_share * num_folds / 2:
        return None  # without fetching its files; folds differ little in size
    predictions = _read_trial(trial, study.description)
    if trial.status == "completed":
        _check_whole(trial, study.description, predictions)
    elif len(predictions.rows) < min_share * num_rows:
        return None
    if not np.isfinite(predictions.predictions).all():
        logger.warning("trial %s is left out: its predictions are not finite.", trial.id)
        return None
    return predictions


def _read_trial(trial: LoggedTrial, description: Mapping[str, Any]) -> _Predictions:
    """Return a trial's predictions; those of a row that was predicted several times averaged."""
    parts = [_read_fold(trial, fold, description["num_outputs"]) for fold in trial.folds]
    rows, predictions, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    folds = np.repeat(trial.folds, [len(part[0]) for part in parts])
    different, first, inverse, counts = np.unique(
        rows, return_index=True, return_inverse=True, return_counts=True
    )
    sums = np.zeros((len(different), description["num_outputs"]))
    np.add.at(sums, inverse, predictions)
    return _Predictions(
        rows=different,
        counts=counts,
        folds=folds[first],
        predictions=(sums / counts[:, None]).astype(np.float32),
        labels=labels[first],
    )


def _check_whole(
    trial: LoggedTrial, description: Mapping[str, Any], predictions: _Predictions | None
) -> None:
    """Check that a completed trial has all folds and rows."""
    missing = sorted(set(range(description["num_folds"])) - set(trial.folds))
    if missing:
        raise EnsembleError(
            f"trial {trial.id} lacks the files of fold {missing[0]} in MLflow; "
            "delete its run there, or run the study again to upload them."
        )
    assert predictions is not None
    num_rows, counts = description["num_rows"], predictions.counts
    if len(counts) != num_rows or (counts != counts[0]).any():
        raise EnsembleError(
            f"trial {trial.id} predicts {len(counts)} rows in {counts.sum()} predictions, "
            f"expected each of {num_rows} rows once, or equally often; delete its run in MLflow."
        )


def _read_fold(
    trial: LoggedTrial, fold: int, num_outputs: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.generic]]:
    file = trial.predictions(fold)
    try:
        arrays = load_file(file)
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

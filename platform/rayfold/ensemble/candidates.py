"""Logged trials, and averages of them, as candidates for an ensemble."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from rayfold.description import StudyDescription
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.errors import EnsembleError, TrackingError
from rayfold.tasks import Task, find_task
from rayfold.tracking import LoggedStudy, LoggedTrial, read_study

logger = logging.getLogger(__name__)

_SAME = ("task", "classes", "num_outputs", "inputs", "data_digest", "num_rows")
"""Fields of their descriptions that studies must share, besides the folds."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates for an ensemble: trials, and averages of trials.

    Attributes:
        studies: Their studies; all have the same data and folds.
        trials: All trials, each with the index of its study in ``studies``. Trials that are
            candidates themselves come first, in the same order.
        made_of: The trials of each candidate, as indices into ``trials``: one trial, or several
            whose predictions are averaged.
        out_of_fold: The candidates' predictions.
        losses: Out-of-fold loss of each of the trials, shape ``(trials,)``.
        rows: Row number in the data set of each predicted row, int64, sorted.
    """

    studies: tuple[LoggedStudy, ...]
    trials: tuple[tuple[int, LoggedTrial], ...]
    made_of: tuple[tuple[int, ...], ...]
    out_of_fold: OutOfFold
    losses: NDArray[np.float64]
    rows: NDArray[np.int64]

    def name(self, candidate: int) -> str:
        """Return the trials' names; with several studies, they include the study's name."""
        return " + ".join(self._trial_name(trial) for trial in self.made_of[candidate])

    def _trial_name(self, index: int) -> str:
        study, trial = self.trials[index]
        return trial.id if len(self.studies) == 1 else f"{self.studies[study].name}/{trial.id}"


@dataclass(frozen=True, eq=False)
class _Predictions:
    """One trial's predictions, sorted by row; several predictions of a row are averaged."""

    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    folds: NDArray[np.int64]
    predictions: NDArray[np.float32]
    labels: NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class _Read:
    """A trial, the index of its study, and its predictions."""

    study: int
    trial: LoggedTrial
    predictions: _Predictions


def read_candidates(
    studies: Sequence[LoggedStudy],
    *,
    min_share: float,
    parts: Sequence[Sequence[LoggedStudy]] = (),
) -> Candidates:
    """Read the out-of-fold predictions of studies' trials.

    Completed trials are candidates. Stopped trials are candidates if they have predicted enough
    rows. Trials with predictions that are not finite are left out and logged.

    Args:
        studies: At least one study, with all its trials.
        min_share: Share of the rows that a stopped trial must have predicted, in (0, 1].
        parts: For each study with parts, the parts' studies: the average of their best completed
            trials is one more candidate.

    Raises:
        EnsembleError: If a study has no predictions, no trial is complete, studies or trials were
            validated on different folds, or a completed trial lacks folds or rows.
        TrackingError: If an artifact is missing.
    """
    for study in studies:
        _check_predicts(study)
        _check_same(studies[0], study)
    read = [
        _Read(number, trial, found)
        for number, study in enumerate(studies)
        for trial in study.trials
        if (found := _read(trial, study, min_share)) is not None
    ]
    whole = next((entry for entry in read if entry.trial.status == "completed"), None)
    if whole is None:
        names = " or ".join(repr(study.name) for study in studies)
        raise EnsembleError(
            f"study {names} has no completed trial with finite predictions in MLflow; run the "
            "study first, or train with lower learning rates."
        )
    known = list(studies)
    made_of: list[tuple[int, ...]] = [(index,) for index in range(len(read))]
    for group in parts:
        for study in group:
            _check_same(studies[0], study)
        if best := _best_of_each(group):
            made_of.append(tuple(_enter(*chosen, known, read) for chosen in best))
    of_trials = _aligned(read, whole, find_task(studies[0].description.data.task))
    return Candidates(
        studies=tuple(known),
        trials=tuple((entry.study, entry.trial) for entry in read),
        made_of=tuple(made_of),
        out_of_fold=_averaged(of_trials, made_of),
        losses=of_trials.losses(),
        rows=whole.predictions.rows,
    )


def read_parts(
    study: LoggedStudy, *, uri: str | None, storage: Path | None
) -> tuple[LoggedStudy, ...]:
    """Read the studies of a study's parts; empty if it has none, or they are missing.

    Args:
        study: The study.
        uri: As for ``read_study``.
        storage: As for ``read_study``.
    """
    cut = study.description.sub_problems
    names = () if cut is None else cut.parts
    try:
        parts = tuple(
            read_study(f"{study.name}.{name}", uri=uri, storage=storage) for name in names
        )
    except TrackingError as error:
        logger.warning("the parts of study %s are left out: %s", study.name, error)
        return ()
    for part in parts:
        whole = part.description.sub_problem
        same = part.description.fold_digest == study.description.fold_digest
        if whole is None or whole.of != study.name or not same:
            logger.warning(
                "the parts of study %s are left out: %s was run on another split or other data.",
                study.name,
                part.name,
            )
            return ()
    return parts


def _best_of_each(
    parts: Sequence[LoggedStudy],
) -> list[tuple[LoggedStudy, LoggedTrial, _Predictions]]:
    """Return the best trial of each part with its predictions; empty if a part has no trial."""
    chosen = []
    for part in parts:
        sign = 1.0 if part.description.mode == "min" else -1.0
        scored = [
            (sign * trial.score, trial.id, trial)
            for trial in part.trials
            if trial.status == "completed" and trial.score is not None
        ]
        best = min(scored, key=lambda entry: entry[:2])[2] if scored else None
        predictions = None if best is None else _read(best, part, 1.0)
        if best is None or predictions is None:
            logger.warning("the parts are left out: %s has no completed trial.", part.name)
            return []
        chosen.append((part, best, predictions))
    return chosen


def _enter(
    study: LoggedStudy,
    trial: LoggedTrial,
    predictions: _Predictions,
    known: list[LoggedStudy],
    read: list[_Read],
) -> int:
    """Return the index of a trial among those read; add it if it is missing."""
    number = next((n for n, other in enumerate(known) if other.run_id == study.run_id), len(known))
    if number == len(known):
        known.append(study)
    for index, entry in enumerate(read):
        if (entry.study, entry.trial.id) == (number, trial.id):
            return index
    read.append(_Read(number, trial, predictions))
    return len(read) - 1


def _aligned(read: Sequence[_Read], whole: _Read, task: Task) -> OutOfFold:
    """Return the predictions of all trials, aligned to the rows of a complete trial."""
    rows = whole.predictions
    present = np.zeros((len(read), len(rows.rows)), bool)
    predictions = np.zeros((len(read), *rows.predictions.shape), np.float32)
    for index, entry in enumerate(read):
        own = entry.predictions
        places = np.minimum(np.searchsorted(rows.rows, own.rows), len(rows.rows) - 1)
        if not (
            np.array_equal(rows.rows[places], own.rows)
            and np.array_equal(rows.labels[places], own.labels)
        ):
            raise EnsembleError(
                f"trial {entry.trial.id} predicts other rows than trial {whole.trial.id}; "
                "delete its run in MLflow."
            )
        present[index, places] = True
        predictions[index, places] = own.predictions
    return OutOfFold(
        task=task,
        predictions=predictions,
        present=present,
        complete=np.asarray(present.all(axis=1)),
        target=rows.labels,
        folds=rows.folds,
    )


def _averaged(of_trials: OutOfFold, made_of: Sequence[tuple[int, ...]]) -> OutOfFold:
    """Return the predictions of candidates, each the mean of trials that predict all rows."""
    alone = [trials[0] for trials in made_of if len(trials) == 1]
    means = [of_trials.predictions[list(trials)].mean(axis=0) for trials in made_of[len(alone) :]]
    if not means:
        return of_trials
    some = of_trials.of_candidates(alone)
    return replace(
        some,
        predictions=np.concatenate([some.predictions, means]),
        present=np.concatenate([some.present, np.ones((len(means), len(of_trials.target)), bool)]),
        complete=np.concatenate([some.complete, np.ones(len(means), bool)]),
    )


def _check_predicts(study: LoggedStudy) -> None:
    """Refuse a study whose learner predicts nothing, in one line."""
    if not study.description.predicts:
        raise EnsembleError(
            f"study {study.name!r} has no predictions to combine, since "
            f"{study.description.learner} predicts nothing; choose a study with another learner."
        )


def _check_same(one: LoggedStudy, other: LoggedStudy) -> None:
    """Check that trials of two studies can be combined; or of one study, that none is foreign."""
    wanted, found = one.description.fold_digest, other.description.fold_digest
    if wanted != found:
        raise EnsembleError(
            f"study {one.name!r} was validated on folds {wanted[:12]}, study {other.name!r} on "
            f"folds {found[:12]}; only trials with the same folds can be combined: run both on "
            "the same data with the same folds."
        )
    data, others = one.description.data.to_dict(), other.description.data.to_dict()
    for field in _SAME:
        if data[field] != others[field]:
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
    num_folds, num_rows = study.description.num_folds, study.description.data.num_rows
    if trial.status == "stopped" and len(trial.folds) < min_share * num_folds / 2:
        return None  # without fetching its files; folds differ little in size
    predictions = _read_trial(trial, study.description.data.num_outputs)
    if trial.status == "completed":
        _check_whole(trial, study.description, predictions)
    elif len(predictions.rows) < min_share * num_rows:
        return None
    if not np.isfinite(predictions.predictions).all():
        logger.warning("trial %s is left out: its predictions are not finite.", trial.id)
        return None
    return predictions


def _read_trial(trial: LoggedTrial, num_outputs: int) -> _Predictions:
    """Return a trial's predictions; those of a row that was predicted several times averaged."""
    parts = [_read_fold(trial, fold, num_outputs) for fold in trial.folds]
    rows, predictions, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    folds = np.repeat(trial.folds, [len(part[0]) for part in parts])
    different, first, inverse, counts = np.unique(
        rows, return_index=True, return_inverse=True, return_counts=True
    )
    sums = np.zeros((len(different), num_outputs))
    np.add.at(sums, inverse, predictions)
    return _Predictions(
        rows=different,
        counts=counts,
        folds=folds[first],
        predictions=(sums / counts[:, None]).astype(np.float32),
        labels=labels[first],
    )


def _check_whole(
    trial: LoggedTrial, description: StudyDescription, predictions: _Predictions | None
) -> None:
    """Check that a completed trial has all folds and rows."""
    missing = sorted(set(range(description.num_folds)) - set(trial.folds))
    if missing:
        raise EnsembleError(
            f"trial {trial.id} lacks the files of fold {missing[0]} in MLflow; "
            "delete its run there, or run the study again to upload them."
        )
    assert predictions is not None
    num_rows, counts = description.data.num_rows, predictions.counts
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

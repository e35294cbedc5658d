"""An ensemble applied to HDF5 files: predictions, and scores if labels are known."""

import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from rayfold.data import load_features, load_labels
from rayfold.ensemble.ensemble import Ensemble
from rayfold.ensemble.evaluation.held_out import Paths, load_as_study, read_held_out
from rayfold.ensemble.evaluation.study_metrics import known_metrics, over_rows
from rayfold.ensemble.predictor import check_features
from rayfold.errors import DataError
from rayfold.machine import machine_fault
from rayfold.results import Value
from rayfold.space.values import show_all
from rayfold.storage import replacing
from rayfold.tasks import Classes, Task


@dataclass(frozen=True, kw_only=True, eq=False)
class FilePredictions:
    """Predictions for the rows of HDF5 files.

    Attributes:
        task: The task.
        rows: Row numbers within the files, shape ``(n,)``.
        predictions: Classes ``(n,)`` or values ``(n,)`` or ``(n, outputs)``.
        probabilities: Class probabilities ``(n, classes)``; None where there are no classes.
        labels: The true labels of these rows; None where the files have none.
        classes: What the columns of ``probabilities`` stand for; None without these.
        trained_on: Whether these are the data of the study itself, most rows of which its models
            were trained on.
        scored: What the study measured, what it searched for first. Metrics of the user's own
            are left out, since a bundle does not hold their code.
    """

    task: Task
    rows: NDArray[np.int64]
    predictions: NDArray[Any]
    probabilities: NDArray[np.float64] | None
    labels: NDArray[Any] | None
    classes: Classes | None
    trained_on: bool = False
    scored: tuple[str, ...] = ()

    def metrics(self) -> dict[str, float]:
        """Return the study's metrics, then the task's summary of predictions.

        It is empty without labels. If a label is not one of the classes, only the accuracy is
        known.
        """
        if self.labels is None:
            return {}
        try:
            target = self.task.encode_known(self.labels, self.classes)
        except DataError:
            return {"accuracy": float(np.mean(self.labels == self.predictions))}
        given = self.predictions if self.probabilities is None else self.probabilities
        predictions = np.asarray(given, np.float64).reshape(len(self.rows), -1)
        metrics = known_metrics(self.scored, self.task.metrics) if len(target) else {}
        measures = over_rows(self.task, metrics, predictions, target)
        return {
            **{name: value for name, (value, _) in measures.items()},
            **self.task.summary(predictions, target),
        }

    def summary(self) -> str:
        """Return one line: ``360 rows, accuracy 0.9861, log_loss 0.0512``."""
        values = [f"{name} {value:.4f}" for name, value in self.metrics().items()]
        line = ", ".join([f"{len(self.rows)} rows", *values])
        if self.trained_on:
            line += "; the models were trained on most of these rows, see --held-out"
        return line

    def write(self, path: Path) -> None:
        """Write ``rows``, ``predictions`` and ``probabilities`` to a new HDF5 file.

        Raises:
            DataError: If the file exists, its folder does not, or it cannot be written.
        """
        check_new_file(path)
        contents = self._hdf5()
        try:
            with replacing(path) as temporary:
                temporary.write_bytes(contents)
        except OSError as error:
            why = machine_fault(error, path.parent) or error.strerror or str(error)
            raise DataError(f"{path}: cannot be written: {why}.") from error

    def _hdf5(self) -> memoryview:
        """Return the bytes of the file; on a full disk, HDF5's own files crash Python."""
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            file["rows"] = self.rows
            for name, values in (
                ("predictions", self.predictions),
                ("classes", np.array(self.classes) if self.classes else None),
                ("probabilities", self.probabilities),
            ):
                if values is not None:
                    text = values.dtype.kind in "UO"
                    file.create_dataset(
                        name,
                        data=values.astype(object) if text else values,
                        dtype=h5py.string_dtype() if text else None,
                    )
        return buffer.getbuffer()


def predict_files(ensemble: Ensemble, paths: Paths, *, held_out: bool = False) -> FilePredictions:
    """Predict the rows of HDF5 files with the layout of the training data.

    Args:
        ensemble: Built or loaded.
        paths: A file, a glob or a list of these.
        held_out: Whether to predict only the test rows; the files must be those of the study.

    Raises:
        DataError: If a file is refused, or its features or labels have another type than in
            training; with ``held_out``, if the files hold other data or there are no test rows.
    """
    names = [entry.name for entry in ensemble.signature.inputs]
    if held_out:
        return _predict_held_out(ensemble, paths)
    features = load_features(paths, names)
    labels = None
    if ensemble.origin.labels is not None:
        labels = load_labels(paths, ensemble.origin.labels, features=names)
    if labels is not None:
        _check_labels(labels, ensemble, paths)
    rows = np.arange(len(features[0]), dtype=np.int64)
    predictions = _predict(ensemble, features, rows, labels)
    if labels is None:
        return predictions
    return dataclasses.replace(predictions, trained_on=_is_of_study(ensemble, paths))


def check_new_file(path: Path) -> None:
    """Check that predictions can be written to a file, before they are made.

    Raises:
        DataError: If the file exists, or its folder does not.
    """
    if path.exists():
        raise DataError(f"{path} exists; choose another file for the predictions.")
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}; make it first.")


def _predict_held_out(ensemble: Ensemble, paths: Paths) -> FilePredictions:
    held_out = read_held_out(paths, ensemble.signature, ensemble.origin)
    classes = ensemble.signature.classes
    labels = ensemble.signature.task.decode(held_out.target, classes)
    return _predict(ensemble, held_out.features, held_out.rows, labels)


def _is_of_study(ensemble: Ensemble, paths: Paths) -> bool:
    try:
        data = load_as_study(paths, ensemble.signature, ensemble.origin)
    except DataError:  # too few rows for a split, say, and so not the study's
        return False
    return data.digest == ensemble.origin.data_digest


def _check_labels(labels: NDArray[Any], ensemble: Ensemble, paths: Paths) -> None:
    """Check that labels can be compared with the ensemble's predictions."""
    signature = ensemble.signature
    where = f"{paths if isinstance(paths, str | Path) else paths[0]}, data set"
    where = f"{where} {ensemble.origin.labels!r}"
    is_text = labels.dtype.kind in "OU"
    if is_text != any(isinstance(one, str) for one in signature.classes or ()):
        found, predicted = ("text", "numbers") if is_text else ("numbers", "text")
        raise DataError(
            f"{where}: it holds {found}, but study {ensemble.origin.study!r} learned to predict "
            f"{predicted}; store labels as they were in training, or rename the data set."
        )
    expected = signature.task.stored_shape(len(labels), signature.num_outputs)
    if labels.shape != expected:
        raise DataError(
            f"{where}: expected labels of shape {expected}, as in training, got {labels.shape}; "
            "store them so, or rename the data set."
        )
    if signature.classes:
        _check_classes(labels, signature.classes, where)


def _check_classes(labels: NDArray[Any], classes: Sequence[Value], where: str) -> None:
    """Check that labels name classes; some of them may be unknown to the ensemble."""
    is_fraction = np.zeros(len(labels), np.bool_)
    if labels.dtype.kind == "f":
        is_fraction = labels != np.floor(labels)
    known = set(classes)
    if len(labels) and (is_fraction.any() or known.isdisjoint(labels.tolist())):
        strange = labels[is_fraction] if is_fraction.any() else labels
        raise DataError(
            f"{where}: it holds {show_all(np.unique(strange).tolist())}, but the classes of the "
            f"ensemble are {show_all(classes)}; store labels as they were in training, or rename "
            "the data set."
        )


def _predict(
    ensemble: Ensemble,
    features: tuple[NDArray[Any], ...],
    rows: NDArray[np.int64],
    labels: NDArray[Any] | None,
) -> FilePredictions:
    task, classes = ensemble.signature.task, ensemble.signature.classes
    combined = ensemble.predict_checked(check_features(features, ensemble.signature))
    return FilePredictions(
        task=task,
        rows=rows,
        predictions=task.decide(combined, classes),
        probabilities=combined if task.probabilities else None,
        labels=labels,
        classes=classes,
        scored=ensemble.origin.scored,
    )

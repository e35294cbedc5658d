"""Classification: one class a row, probabilities of classes come out."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rayfold.errors import DataError
from rayfold.tasks.base import Classes, KnownMetric, Labels, Predictions, Strata, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

LEAST_PROBABILITY = float(np.finfo(np.float64).eps)
"""What a probability is raised to before its logarithm is taken for a loss, 2.2e-16."""


def _of_classes(name: str, **arguments: Any) -> Callable[[Labels, Predictions], float]:
    """Return a metric of scikit-learn of the labels and the most probable classes."""

    def compute(labels: Labels, probabilities: Predictions) -> float:
        from sklearn import metrics

        return float(getattr(metrics, name)(labels, probabilities.argmax(axis=1), **arguments))

    return compute


def _auroc(labels: Labels, probabilities: Predictions) -> float:
    """Return the mean over the classes that are there of each one's AUROC against the rest."""
    from sklearn.metrics import roc_auc_score

    present = np.unique(labels)
    if len(present) < 2:
        return math.nan
    return float(np.mean([roc_auc_score(labels == c, probabilities[:, c]) for c in present]))


def _single_class(labels: Labels, classes: Classes | None) -> str | None:
    if classes is None or len(np.unique(labels)) > 1:
        return None
    return f"all its validation rows have the class {classes[labels[0]]!r}"


def _calibration_error(labels: Labels, probabilities: Predictions) -> float:
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    return float(
        multiclass_calibration_error(
            torch.from_numpy(probabilities),
            torch.from_numpy(labels),
            num_classes=probabilities.shape[1],
        )
    )


class Classification(Task):
    """One class a row; models return logits, and ensembles average probabilities."""

    name = "classification"
    label_type = np.int64
    output_noun = "classes"
    loss_name = "log loss"
    default_loss = "cross_entropy"
    default_metrics = ("accuracy",)
    quantities = False
    probabilities = True
    temperature = True
    stacking = "logistic"
    region = "set"
    uncertainty = "entropy"
    metrics: ClassVar[Mapping[str, KnownMetric]] = {
        "accuracy": KnownMetric(
            "share of rows whose most probable class is right",
            "max",
            _of_classes("accuracy_score"),
        ),
        "balanced_accuracy": KnownMetric(
            "recall of each class that has rows, averaged (macro)",
            "max",
            _of_classes("balanced_accuracy_score"),
        ),
        "f1": KnownMetric(
            "harmonic mean of precision and recall of each class, averaged (macro)",
            "max",
            _of_classes("f1_score", average="macro", zero_division=0),
        ),
        "precision": KnownMetric(
            "share of right rows among those predicted as a class, averaged (macro)",
            "max",
            _of_classes("precision_score", average="macro", zero_division=0),
        ),
        "recall": KnownMetric(
            "share of a class's rows that are predicted as it, averaged (macro)",
            "max",
            _of_classes("recall_score", average="macro", zero_division=0),
        ),
        "auroc": KnownMetric(
            "area under the ROC curve of each class with rows against the rest, averaged (macro)",
            "max",
            _auroc,
            _single_class,
        ),
        "matthews": KnownMetric(
            "Matthews correlation coefficient", "max", _of_classes("matthews_corrcoef")
        ),
        "calibration_error": KnownMetric(
            "expected calibration error of the most probable class, 15 equal bins",
            "min",
            _calibration_error,
        ),
    }

    def encode(self, values: Labels, *, where: str) -> tuple[Labels, Classes | None]:
        """Return the class index of each row, and the classes in sorted order.

        Args:
            values: Integers, booleans, strings or floats that are whole numbers, shape
                ``(rows,)`` or ``(rows, 1)``.
            where: How messages name the data set.

        Returns:
            Indices of shape ``(rows,)``, counted from 0, and what each index stands for.

        Raises:
            DataError: If ``values`` have several columns, fractions, or fewer than two classes.
        """
        labels = values
        if labels.ndim != 1:
            raise DataError(
                f"{where}: expected one class a row, got rows of shape {labels.shape[1:]}; store "
                "class numbers or names (of one-hot rows: their argmax), or set "
                "task='regression'."
            )
        if labels.dtype.kind == "f":
            fractions = np.flatnonzero(labels != np.floor(labels))
            if len(fractions):
                row = int(fractions[0])
                raise DataError(
                    f"{where}: expected whole numbers for task='classification', got "
                    f"{labels[row].item()} in row {row}; set task='regression' or store class "
                    "numbers."
                )
        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise DataError(
                f"{where}: every row has the class {classes.tolist()[0]!r}; "
                "classification needs at least two classes."
            )
        return codes, tuple(classes.tolist())

    def encode_known(self, values: Labels, classes: Classes | None) -> Labels:
        """Return the class index of each row."""
        indices = {value: index for index, value in enumerate(classes or ())}
        unknown = [label for label in values.tolist() if label not in indices]
        if unknown:
            raise DataError(
                f"target: the ensemble knows no class {unknown[0]!r}; leave its rows out."
            )
        return np.array([indices[label] for label in values.tolist()], np.int64)

    def decode(self, labels: Labels, classes: Classes | None) -> Labels:
        """Return the class of each row, by its index."""
        return np.asarray(np.array(classes)[labels])

    def decide(self, predictions: Predictions, classes: Classes | None) -> Labels:
        """Return the most probable class of each row."""
        return self.decode(predictions.argmax(axis=1), classes)

    def num_outputs(self, labels: Labels, classes: Classes | None) -> int:
        """Return the number of classes."""
        return len(classes or ())

    def check_classes(self, classes: Classes | None, num_outputs: int) -> None:
        """Check that there is a class for each output."""
        if classes is None:
            raise ValueError(f"classes do not go with task {self}")
        if len(set(classes)) < len(classes):
            raise ValueError("classes are not all different")
        if len(classes) != num_outputs:
            raise ValueError(f"expected {num_outputs} classes, got {len(classes)}")

    def target_shape(self, num_rows: int, num_outputs: int) -> tuple[int, ...]:
        """Return ``(rows,)``."""
        return (num_rows,)

    def strata(self, labels: Labels, classes: Classes | None) -> Strata | None:
        """Return the classes."""
        return Strata(labels, classes or ())

    def simple_models(self) -> Mapping[str, Callable[[], Any]]:
        """Return a nearest neighbour, nearest class means and a shallow tree."""
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.tree import DecisionTreeClassifier

        return {
            "nearest_neighbour": lambda: KNeighborsClassifier(1),
            "nearest_centroid": _NearestCentroid,
            "shallow_tree": lambda: DecisionTreeClassifier(max_depth=3, random_state=0),
        }

    def losses(self) -> Mapping[str, "type[nn.Module]"]:
        """Return cross entropy."""
        from torch import nn

        return {"cross_entropy": nn.CrossEntropyLoss}

    def activate(self, outputs: "Tensor") -> "Tensor":
        """Return the softmax."""
        return outputs.softmax(-1)

    def row_losses(self, predictions: NDArray[np.floating], labels: Labels) -> Predictions:
        """Return log losses; probabilities are raised to at least 2.2e-16."""
        of_true = predictions[..., np.arange(len(labels)), np.asarray(labels, dtype=np.int64)]
        safe = np.maximum(of_true, LEAST_PROBABILITY, dtype=np.float64)
        losses: Predictions = -np.log(safe)
        return losses

    def summary(self, predictions: Predictions, labels: Labels) -> dict[str, float]:
        """Return accuracy and log loss."""
        return {
            "accuracy": float(np.mean(labels == predictions.argmax(axis=1))),
            "log_loss": float(self.row_losses(predictions, labels).mean()),
        }

    def parts(self, predictions: NDArray[np.float32], labels: Labels) -> NDArray[np.float32]:
        """Return the probability of the true class, one part."""
        index = np.asarray(labels, dtype=np.int64)[None, :, None]
        return np.take_along_axis(predictions, index, axis=2)

    def mean_loss(self, parts: NDArray[np.floating], labels: Labels) -> float:
        """Return the mean log loss."""
        np.maximum(parts, LEAST_PROBABILITY, out=parts)
        return float(-np.log(parts, out=parts).mean(dtype=np.float64))

    def mean_loss_slope(self, parts: Predictions, labels: Labels) -> Predictions:
        """Return ``-1 / probability / rows``."""
        safe = np.maximum(parts, LEAST_PROBABILITY)
        slope: Predictions = -1 / safe / safe.size
        return slope


class _NearestCentroid:
    """Classifies by the nearest class mean; scikit-learn's warns of columns that are constant."""

    def fit(self, features: Predictions, labels: Labels) -> "_NearestCentroid":
        self._classes = np.unique(labels)
        self._means = np.array([features[labels == one].mean(axis=0) for one in self._classes])
        return self

    def score(self, features: Predictions, labels: Labels) -> float:
        distances = np.square(features[:, None] - self._means).sum(axis=2)
        return float((self._classes[distances.argmin(axis=1)] == labels).mean())

"""Metrics by name, computed by scikit-learn over all validation rows at once."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayfold.data import DataSet, FoldPlan, Task
from rayfold.errors import DataError, RecipeError, did_you_mean
from rayfold.results import Mode

Scores: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class _Metric:
    """A metric.

    Attributes:
        meaning: What it measures, in a few words, for docs and ``rayfold metrics``.
        mode: Whether a small or a large value is good.
        compute: Takes labels and predictions, as ``evaluate`` does; NaN where it is undefined.
    """

    meaning: str
    mode: Mode
    compute: Callable[[Labels, Scores], float]


def _of_classes(name: str, **arguments: Any) -> Callable[[Labels, Scores], float]:
    """Return a metric of scikit-learn of the labels and the most probable classes."""

    def compute(labels: Labels, probabilities: Scores) -> float:
        from sklearn import metrics

        return float(getattr(metrics, name)(labels, probabilities.argmax(axis=1), **arguments))

    return compute


def _of_values(name: str) -> Callable[[Labels, Scores], float]:
    """Return a metric of scikit-learn of the labels and the values."""

    def compute(labels: Labels, values: Scores) -> float:
        from sklearn import metrics

        return float(getattr(metrics, name)(labels, values))

    return compute


def _auroc(labels: Labels, probabilities: Scores) -> float:
    """Return the mean over the classes that are there of each one's AUROC against the rest."""
    from sklearn.metrics import roc_auc_score

    present = np.unique(labels)
    if len(present) < 2:
        return math.nan
    return float(np.mean([roc_auc_score(labels == c, probabilities[:, c]) for c in present]))


def _calibration_error(labels: Labels, probabilities: Scores) -> float:
    from torchmetrics.functional.classification import multiclass_calibration_error

    return float(
        multiclass_calibration_error(
            torch.from_numpy(probabilities),
            torch.from_numpy(labels),
            num_classes=probabilities.shape[1],
        )
    )


METRICS: Mapping[Task, Mapping[str, _Metric]] = {
    "classification": {
        "accuracy": _Metric(
            "share of rows whose most probable class is right",
            "max",
            _of_classes("accuracy_score"),
        ),
        "balanced_accuracy": _Metric(
            "recall of each class that has rows, averaged (macro)",
            "max",
            _of_classes("balanced_accuracy_score"),
        ),
        "f1": _Metric(
            "harmonic mean of precision and recall of each class, averaged (macro)",
            "max",
            _of_classes("f1_score", average="macro", zero_division=0),
        ),
        "precision": _Metric(
            "share of right rows among those predicted as a class, averaged (macro)",
            "max",
            _of_classes("precision_score", average="macro", zero_division=0),
        ),
        "recall": _Metric(
            "share of a class's rows that are predicted as it, averaged (macro)",
            "max",
            _of_classes("recall_score", average="macro", zero_division=0),
        ),
        "auroc": _Metric(
            "area under the ROC curve of each class with rows against the rest, averaged (macro)",
            "max",
            _auroc,
        ),
        "matthews": _Metric(
            "Matthews correlation coefficient", "max", _of_classes("matthews_corrcoef")
        ),
        "calibration_error": _Metric(
            "expected calibration error of the most probable class, 15 equal bins",
            "min",
            _calibration_error,
        ),
    },
    "regression": {
        "mse": _Metric("mean squared error", "min", _of_values("mean_squared_error")),
        "rmse": _Metric(
            "root of the mean squared error", "min", _of_values("root_mean_squared_error")
        ),
        "mae": _Metric("mean absolute error", "min", _of_values("mean_absolute_error")),
        "r2": _Metric("coefficient of determination", "max", _of_values("r2_score")),
    },
}

DEFAULT_METRICS: Mapping[Task, tuple[str, ...]] = {
    "classification": ("accuracy",),
    "regression": ("mae",),
}


def check_metrics(names: Sequence[str], task: Task) -> tuple[str, ...]:
    """Return the metrics' names, the task's default for none.

    Raises:
        RecipeError: If a name is unknown, or belongs to the other task.
    """
    known = tuple(METRICS[task])
    for name in names:
        if name not in known:
            raise RecipeError(
                f"metric {name!r} is not for {task}{did_you_mean(name, known)}; "
                f"choose from {', '.join(known)}."
            )
    return tuple(dict.fromkeys(names)) or DEFAULT_METRICS[task]


_LOSS: Mapping[str, Mode] = {"loss": "min"}


def metric_mode(
    metric: str, metrics: Sequence[str], task: Task, reports: Mapping[str, Mode] = _LOSS
) -> Mode:
    """Return whether a small or a large ``metric`` is good.

    Args:
        metric: ``"val_"`` + one of ``metrics`` or ``reports``.
        metrics: The metrics that the study computes of predictions.
        task: The kind of labels.
        reports: What the study's learner measures, see ``Learner.reports``.

    Raises:
        RecipeError: If the study computes no such metric.
    """
    known = tuple(f"val_{name}" for name in (*reports, *metrics))
    if metric not in known:
        raise RecipeError(
            f"metric {metric!r} is not computed{did_you_mean(metric, known)}; "
            f"choose one of {', '.join(known)}, or add it to the study's metrics."
        )
    name = metric.removeprefix("val_")
    return reports[name] if name in reports else METRICS[task][name].mode


def check_defined(metric: str, plan: FoldPlan, data: DataSet) -> None:
    """Check that what a study searches for is defined in every fold.

    Args:
        metric: ``"val_loss"`` or ``"val_"`` + a metric's name.
        plan: The folds.
        data: The data set.

    Raises:
        DataError: If it is not, for one line names the fold, the reason and the remedy.
    """
    for fold in plan.folds:
        rows = fold.validation_rows if fold.scored is None else fold.validation_rows[fold.scored]
        labels = data.labels[rows]
        reason = None
        if metric == "val_auroc" and data.classes is not None and len(np.unique(labels)) < 2:
            reason = f"all its validation rows have the class {data.classes[labels[0]]!r}"
        elif metric == "val_r2" and len(rows) < 2:
            reason = "it has a single validation row"
        if reason is not None:
            raise DataError(
                f"fold {fold.index}: {metric} is undefined, since {reason}; "
                "use fewer folds, other row groups, or another metric."
            )


def check_mode(mode: Mode | None, metric: str, own: Mode) -> Mode:
    """Return the mode of a study: the metric's own.

    Args:
        mode: What was asked for; None leaves it to the metric.
        metric: The study's metric, for the message.
        own: Its mode, as ``metric_mode`` tells it.

    Raises:
        RecipeError: If the opposite was asked for: the worst trial would be the best.
    """
    if mode not in (None, own):
        good = "small" if own == "min" else "large"
        raise RecipeError(
            f"mode is {mode!r}, but a {good} {metric} is good, mode {own!r}; leave mode out."
        )
    return own


def scored_names(metrics: Sequence[str], metric: str = "val_loss") -> tuple[str, ...]:
    """Return what a study measures on validation rows, its own metric first.

    Args:
        metrics: The metrics that it computes, ``("accuracy",)``.
        metric: The one that it searches for.

    Returns:
        Names as in histories and tables: ``("val_accuracy", "val_loss")``.
    """
    return tuple(dict.fromkeys([metric, *(f"val_{name}" for name in metrics), "val_loss"]))


def load_metrics() -> None:
    """Import scikit-learn's now, and not in the midst of a fold: that takes seconds."""
    import sklearn.metrics  # noqa: F401


def evaluate(
    names: Sequence[str], task: Task, predictions: Tensor, labels: Tensor
) -> dict[str, float]:
    """Compute metrics over all rows.

    Their values are scikit-learn's, also where a class is absent, predictions are constant or
    there is a single row. ``f1``, ``precision`` and ``recall`` are means over the classes that
    occur among labels or predictions, 0 for one without such rows; ``balanced_accuracy`` is the
    mean recall of the classes that occur among the labels; ``auroc`` the mean over these of one
    class against the rest. Of several outputs, regression takes the mean over the outputs.

    Args:
        names: Keys of ``METRICS[task]``.
        task: The kind of labels.
        predictions: Class probabilities ``(rows, classes)`` or values ``(rows, outputs)``.
        labels: Class indices ``(rows,)`` or values ``(rows, outputs)``.

    Returns:
        Each name with its value. Undefined ones are left out: ``auroc`` where all rows have one
        class, ``r2`` of a single row, and all where a prediction is not finite.
    """
    scores, truth = predictions.double().cpu().numpy(), labels.cpu().numpy()
    if not np.isfinite(scores).all():
        return {}
    if task == "classification":
        scores = scores.clip(0, 1)  # a sum or mean in float32 may exceed 1 by rounding
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn tells of absent classes and single rows
        values = {name: METRICS[task][name].compute(truth, scores) for name in names}
    return {name: value for name, value in values.items() if math.isfinite(value)}

"""Metrics by name, computed by torchmetrics over all validation rows at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from rayfold.data import Task
from rayfold.errors import RecipeError, did_you_mean
from rayfold.results import Mode


@dataclass(frozen=True)
class _Source:
    """A metric of torchmetrics, which only those import who compute it.

    Attributes:
        meaning: What it measures, in a few words, for docs and ``rayfold metrics``.
        mode: Whether a small or a large value is good.
        name: The class, in its module of torchmetrics.
        arguments: What it is made with.
    """

    meaning: str
    mode: Mode
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


METRICS: Mapping[Task, Mapping[str, _Source]] = {
    "classification": {
        "accuracy": _Source(
            "share of rows whose most probable class is right",
            "max",
            "MulticlassAccuracy",
            {"average": "micro"},
        ),
        "balanced_accuracy": _Source(
            "recall of each class, averaged (macro)",
            "max",
            "MulticlassAccuracy",
            {"average": "macro"},
        ),
        "f1": _Source(
            "harmonic mean of precision and recall of each class, averaged (macro)",
            "max",
            "MulticlassF1Score",
            {"average": "macro"},
        ),
        "precision": _Source(
            "share of right rows among those predicted as a class, averaged (macro)",
            "max",
            "MulticlassPrecision",
            {"average": "macro"},
        ),
        "recall": _Source(
            "share of a class's rows that are predicted as it, averaged (macro)",
            "max",
            "MulticlassRecall",
            {"average": "macro"},
        ),
        "auroc": _Source(
            "area under the ROC curve of each class against the rest, averaged (macro)",
            "max",
            "MulticlassAUROC",
        ),
        "matthews": _Source(
            "Matthews correlation coefficient", "max", "MulticlassMatthewsCorrCoef"
        ),
        "calibration_error": _Source(
            "expected calibration error of the most probable class, 15 equal bins",
            "min",
            "MulticlassCalibrationError",
        ),
    },
    "regression": {
        "mse": _Source("mean squared error", "min", "MeanSquaredError"),
        "rmse": _Source(
            "root of the mean squared error", "min", "MeanSquaredError", {"squared": False}
        ),
        "mae": _Source("mean absolute error", "min", "MeanAbsoluteError"),
        "r2": _Source("coefficient of determination", "max", "R2Score"),
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


def metric_mode(metric: str, metrics: Sequence[str], task: Task) -> Mode:
    """Return whether a small or a large ``metric`` is good.

    Args:
        metric: ``"val_loss"`` or ``"val_"`` + one of ``metrics``.
        metrics: The metrics that the study computes.
        task: The kind of labels.

    Raises:
        RecipeError: If the study computes no such metric.
    """
    known = ("val_loss", *(f"val_{name}" for name in metrics))
    if metric not in known:
        raise RecipeError(
            f"metric {metric!r} is not computed{did_you_mean(metric, known)}; "
            f"choose one of {', '.join(known)}, or add it to the study's metrics."
        )
    return "min" if metric == "val_loss" else METRICS[task][metric.removeprefix("val_")].mode


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
    """Import torchmetrics now, and not in the midst of a fold: that takes seconds."""
    import torchmetrics  # noqa: F401


def evaluate(
    names: Sequence[str], task: Task, predictions: Tensor, labels: Tensor
) -> dict[str, float]:
    """Compute metrics over all rows.

    Args:
        names: Keys of ``METRICS[task]``.
        task: The kind of labels.
        predictions: Class probabilities ``(rows, classes)`` or values ``(rows, outputs)``.
        labels: Class indices ``(rows,)`` or values ``(rows, outputs)``.

    Returns:
        Each name with its value.
    """
    from torchmetrics import classification, regression

    arguments: dict[str, Any] = {"sync_on_compute": False}  # rank 0 has all rows, and is alone
    if task == "classification":
        arguments["num_classes"] = predictions.shape[1]
    else:
        predictions, labels = _squeeze_single_output(predictions, labels)
    module = classification if task == "classification" else regression
    values = {}
    for name in names:
        source = METRICS[task][name]
        metric = getattr(module, source.name)(**source.arguments, **arguments)
        metric.update(predictions, labels)
        values[name] = float(metric.compute())
    return values


def _squeeze_single_output(predictions: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    if predictions.dim() == 2 and predictions.shape[1] == 1:
        return predictions[:, 0].contiguous(), labels[:, 0].contiguous()
    return predictions, labels

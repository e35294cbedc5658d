"""Metrics by name, computed by torchmetrics over all validation rows at once."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torchmetrics.classification as classification
import torchmetrics.regression as regression
from torch import Tensor
from torchmetrics import Metric

from rayfold.data import Task
from rayfold.errors import RecipeError, did_you_mean
from rayfold.results import Mode

METRICS: Mapping[Task, Mapping[str, tuple[Mode, Callable[..., Metric]]]] = {
    "classification": {
        "accuracy": ("max", partial(classification.MulticlassAccuracy, average="micro")),
        "balanced_accuracy": ("max", partial(classification.MulticlassAccuracy, average="macro")),
        "f1": ("max", partial(classification.MulticlassF1Score, average="macro")),
        "precision": ("max", partial(classification.MulticlassPrecision, average="macro")),
        "recall": ("max", partial(classification.MulticlassRecall, average="macro")),
        "auroc": ("max", classification.MulticlassAUROC),
        "matthews": ("max", classification.MulticlassMatthewsCorrCoef),
        "calibration_error": ("min", classification.MulticlassCalibrationError),
    },
    "regression": {
        "mse": ("min", regression.MeanSquaredError),
        "rmse": ("min", partial(regression.MeanSquaredError, squared=False)),
        "mae": ("min", regression.MeanAbsoluteError),
        "r2": ("max", regression.R2Score),
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
    return "min" if metric == "val_loss" else METRICS[task][metric.removeprefix("val_")][0]


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
    values = {}
    for name in names:
        # Rank 0 holds all rows and computes alone; torchmetrics would wait for the other ranks.
        create = partial(METRICS[task][name][1], sync_on_compute=False)
        if task == "classification":
            metric = create(num_classes=predictions.shape[1])
        else:
            metric = create()
            predictions, labels = _squeeze_single_output(predictions, labels)
        metric.update(predictions, labels)
        values[name] = float(metric.compute())
    return values


def _squeeze_single_output(predictions: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    if predictions.dim() == 2 and predictions.shape[1] == 1:
        return predictions[:, 0].contiguous(), labels[:, 0].contiguous()
    return predictions, labels

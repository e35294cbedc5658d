"""Metrics by name, of a task: computed over all validation rows at once."""

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from rayfold.data import DataSet, FoldPlan
from rayfold.errors import DataError, RecipeError, did_you_mean
from rayfold.results import Mode
from rayfold.tasks import Task


def check_metrics(names: Sequence[str], task: Task) -> tuple[str, ...]:
    """Return the metrics' names, the task's default for none.

    Raises:
        RecipeError: If the task has no metric of that name.
    """
    known = tuple(task.metrics)
    for name in names:
        if name not in known:
            raise RecipeError(
                f"metric {name!r} is not for {task}{did_you_mean(name, known)}; "
                f"choose from {', '.join(known)}."
            )
    return tuple(dict.fromkeys(names)) or task.default_metrics


_LOSS: Mapping[str, Mode] = {"loss": "min"}


def metric_mode(
    metric: str, metrics: Sequence[str], task: Task, reports: Mapping[str, Mode] = _LOSS
) -> Mode:
    """Return whether a small or a large ``metric`` is good.

    Args:
        metric: ``"val_"`` + one of ``metrics`` or ``reports``.
        metrics: The metrics that the study computes of predictions.
        task: The kind of problem.
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
    return reports[name] if name in reports else task.metrics[name].mode


def check_defined(metric: str, plan: FoldPlan, data: DataSet) -> None:
    """Check that what a study searches for is defined in every fold.

    Args:
        metric: ``"val_loss"`` or ``"val_"`` + a metric's name.
        plan: The folds.
        data: The data set.

    Raises:
        DataError: If it is not, for one line names the fold, the reason and the remedy.
    """
    measured = data.task.metrics.get(metric.removeprefix("val_"))
    if measured is None:  # the loss
        return
    for fold in plan.folds:
        rows = fold.validation_rows if fold.scored is None else fold.validation_rows[fold.scored]
        reason = measured.undefined(data.labels[rows], data.classes)
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
        names: Keys of the task's ``metrics``.
        task: The kind of problem.
        predictions: Predictions of the task, shape ``(rows, outputs)``.
        labels: Encoded labels.

    Returns:
        Each name with its value. Undefined ones are left out: ``auroc`` where all rows have one
        class, ``r2`` of a single row, and all where a prediction is not finite.
    """
    scores, truth = predictions.double().cpu().numpy(), labels.cpu().numpy()
    if not np.isfinite(scores).all():
        return {}
    if task.probabilities:
        scores = scores.clip(0, 1)  # a sum or mean in float32 may exceed 1 by rounding
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn tells of absent classes and single rows
        values = {name: task.metrics[name].compute(truth, scores) for name in names}
    return {name: value for name, value in values.items() if math.isfinite(value)}

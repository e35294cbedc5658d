"""Metrics: those of a task by name, all others by reference; computed over all rows at once."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from rayfold.data import DataSet, FoldPlan
from rayfold.errors import DataError, ModelError, RecipeError, did_you_mean
from rayfold.registry import Registry, is_reference
from rayfold.results import Mode
from rayfold.tasks import Metric, Task
from rayfold.user_code import SourceCode

METRICS: Registry[Metric] = Registry("metric", "rayfold.tasks:Metric")
"""Finds metrics by reference. ``metrics_of`` adds the names that a task knows."""


def metrics_of(task: Task) -> Registry[Metric]:
    """Return the registry of metrics for a task."""

    def constant(metric: Metric) -> Callable[[], Metric]:
        return lambda: metric

    names = {name: constant(metric) for name, metric in task.metrics.items()}
    return replace(METRICS, names=names, scope=f" for {task}")


def metric_name(given: str) -> str:
    """Return the name of a metric in results: its name, or the name of its class.

    Args:
        given: A name, or a reference such as ``"./mine.py:GeometricMean"``.
    """
    return given.rpartition(":")[2].rpartition(".")[2]


def find_metrics(
    given: Sequence[str], task: Task, code: Mapping[str, SourceCode] | None = None
) -> dict[str, Metric]:
    """Return metrics by their names in results.

    Args:
        given: Names and references.
        task: The kind of problem.
        code: The code of metrics that are named by reference.

    Raises:
        ModelError: If there is no such metric, or it cannot be imported or has no mode.
        RecipeError: If two metrics would have the same name in results.
    """
    known = metrics_of(task)
    found: dict[str, Metric] = {}
    for each in dict.fromkeys(given):
        make, name = known.find(each, code=code), metric_name(each)
        known.check_defaults(each, make)
        metric = make()
        if getattr(metric, "mode", None) not in ("min", "max"):
            raise ModelError(f"metric {each!r} must set mode to 'min' or 'max'.")
        if name in found or (is_reference(each) and (name in task.metrics or name == "loss")):
            raise RecipeError(
                f"metric {each!r} has the same name in results as another one, {name}; rename it."
            )
        found[name] = metric
    return found


_LOSS: Mapping[str, Mode] = {"loss": "min"}


def metric_mode(
    metric: str, metrics: Mapping[str, Metric], reports: Mapping[str, Mode] = _LOSS
) -> Mode:
    """Return whether a small or a large ``metric`` is good.

    Args:
        metric: ``"val_"`` + one of ``metrics`` or ``reports``.
        metrics: The metrics that the study computes from predictions, by name.
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
    return reports[name] if name in reports else metrics[name].mode


def check_defined(name: str, metric: Metric, plan: FoldPlan, data: DataSet) -> None:
    """Check that what a study searches for is defined in every fold.

    Args:
        name: ``"val_"`` + the metric's name.
        metric: The metric.
        plan: The folds.
        data: The data set.

    Raises:
        DataError: If it is not; the message names the fold, the reason and the remedy.
    """
    for fold in plan.folds:
        rows = fold.validation_rows if fold.scored is None else fold.validation_rows[fold.scored]
        reason = metric.undefined(data.labels[rows], data.classes)
        if reason is not None:
            raise DataError(
                f"fold {fold.index}: {name} is undefined, since {reason}; "
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
        metrics: The metrics that it computes, names and references: ``("accuracy",)``.
        metric: The one that it searches for.

    Returns:
        Names as in histories and tables: ``("val_accuracy", "val_loss")``.
    """
    names = (f"val_{metric_name(given)}" for given in metrics)
    return tuple(dict.fromkeys([metric, *names, "val_loss"]))


def load_metrics() -> None:
    """Import scikit-learn's now, and not in the midst of a fold: that takes seconds."""
    import sklearn.metrics  # noqa: F401


def evaluate(
    metrics: Mapping[str, Metric], task: Task, predictions: Tensor, labels: Tensor
) -> dict[str, float]:
    """Compute metrics over all rows.

    Their values are scikit-learn's, also where a class is absent, predictions are constant or
    there is a single row. ``f1``, ``precision`` and ``recall`` are means over the classes that
    occur among labels or predictions, 0 for one without such rows; ``balanced_accuracy`` is the
    mean recall of the classes that occur among the labels; ``auroc`` the mean over these of one
    class against the rest. Of several outputs, regression takes the mean over the outputs.

    Args:
        metrics: The metrics by name.
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
        values = {name: float(metric.compute(truth, scores)) for name, metric in metrics.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}

"""Results as metrics of MLflow: points with a step and a time."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rayfold.results import FoldResult
from rayfold.tracking import tags as tag

if TYPE_CHECKING:
    from mlflow.entities import Metric


def history_metrics(folds: Sequence[FoldResult], *, prefix: str = "") -> list["Metric"]:
    """Return one point per metric and epoch (counted from 1), the mean over ``folds``."""
    values: dict[tuple[int, str], list[float | None]] = defaultdict(list)
    times: dict[int, float] = {}
    for fold in folds:
        for epoch, metrics in enumerate(fold.history, start=1):
            time = metrics.get("finished_at") or fold.finished_at
            times[epoch] = max(time, times.get(epoch, time))
            for name, value in metrics.items():
                if name != "finished_at":
                    values[epoch, name].append(value)
    return [
        metric(prefix + name, mean(of_folds), times[epoch], step=epoch)
        for (epoch, name), of_folds in values.items()
    ]


def metric(name: str, value: float | None, time: float, *, step: int) -> "Metric":
    """Return one point; a value that is not finite is null in the journal and NaN in MLflow."""
    from mlflow.entities import Metric

    value = math.nan if value is None else float(value)
    return Metric(tag.metric_name(name), value, milliseconds(time), step)


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; None if there is none, or a value was not finite (null in the journal)."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def milliseconds(time: float) -> int:
    """Return Unix seconds in MLflow's unit of time."""
    return int(time * 1000)

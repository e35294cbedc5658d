"""Tables of the metrics and losses that a study can name."""

import pandas as pd

from rayfold.tasks import TASKS


def metrics_table() -> pd.DataFrame:
    """Return one row per metric: ``metric``, ``task``, ``good`` (small or large), ``meaning``."""
    rows = [
        (name, task.name, "small" if metric.mode == "min" else "large", metric.meaning)
        for task in TASKS.values()
        for name, metric in task.metrics.items()
    ]
    return pd.DataFrame(rows, columns=["metric", "task", "good", "meaning"])


def losses_table() -> pd.DataFrame:
    """Return one row per loss: ``loss``, ``task``, ``class`` (PyTorch's)."""
    rows = [
        (name, task.name, f"torch.nn.{loss.__name__}")
        for task in TASKS.values()
        for name, loss in task.losses().items()
    ]
    return pd.DataFrame(rows, columns=["loss", "task", "class"])

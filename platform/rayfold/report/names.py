"""Tables of what a study can name: metrics and losses."""

import pandas as pd

from rayfold.training.losses import LOSSES
from rayfold.training.metrics import METRICS


def metrics_table() -> pd.DataFrame:
    """Return one row per metric: ``metric``, ``task``, ``good`` (small or large), ``meaning``."""
    rows = [
        (name, task, "small" if source.mode == "min" else "large", source.meaning)
        for task, sources in METRICS.items()
        for name, source in sources.items()
    ]
    return pd.DataFrame(rows, columns=["metric", "task", "good", "meaning"])


def losses_table() -> pd.DataFrame:
    """Return one row per loss: ``loss``, ``task``, ``class`` (PyTorch's)."""
    rows = [(name, task, f"torch.nn.{kind.__name__}") for name, (task, kind) in LOSSES.items()]
    return pd.DataFrame(rows, columns=["loss", "task", "class"])

from pathlib import Path

import pandas as pd
import pytest

from rayfold.report.names import losses_table, metrics_table
from rayfold.tasks import TASKS

DOCS = Path(__file__).parents[3] / "platform" / "docs" / "metrics.md"


@pytest.mark.parametrize("table", [metrics_table(), losses_table()], ids=["metrics", "losses"])
def test_the_docs_list_what_the_command_lists(table: pd.DataFrame) -> None:
    lines = DOCS.read_text().splitlines()
    start = lines.index(f"| {' | '.join(table.columns)} |") + 2
    rows = [f"| {' | '.join(row)} |" for row in table.itertuples(index=False)]
    assert lines[start : start + len(rows)] == rows
    assert not "".join(lines[start + len(rows) : start + len(rows) + 1])


def test_every_metric_and_loss_is_listed_with_its_task() -> None:
    metrics, losses = metrics_table(), losses_table()
    assert set(zip(metrics["task"], metrics["metric"], strict=True)) == {
        (task.name, name) for task in TASKS.values() for name in task.metrics
    }
    assert losses["loss"].tolist() == [name for task in TASKS.values() for name in task.losses()]


def test_it_is_said_that_f1_averages_over_classes() -> None:
    table = metrics_table().set_index("metric")
    assert "averaged (macro)" in str(table.loc["f1", "meaning"])

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rayfold.ensemble import Ensemble
from rayfold.ensemble.evaluation.plots import (
    plot_builders,
    plot_importance,
    plot_members,
    plot_reliability,
    png,
)
from rayfold.ensemble.evaluation.report import Report
from rayfold.ensemble.evaluation.scores import Interval, Scores


def labels(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def widths(figure: Figure) -> list[float]:
    return [bar.get_width() for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]


def test_members_are_bars_of_their_weights(regression: Ensemble) -> None:
    figure = plot_members(regression.table())
    assert labels(figure) == ["0003", "0001"]
    assert widths(figure) == [0.75, 0.25]
    assert png(figure).startswith(b"\x89PNG")


def test_the_largest_importances_are_shown_with_their_places() -> None:
    table = pd.DataFrame(
        {
            "input": ["image"] * 30,
            "place": [(row, 0) for row in range(30)],
            "importance": np.arange(30.0),
        }
    )
    figure = plot_importance(table)
    assert labels(figure)[:2] == ["image[29, 0]", "image[28, 0]"]
    assert len(widths(figure)) == 20
    parameters = pd.DataFrame({"parameter": ["rate", "width"], "importance": [0.9, 0.1]})
    assert labels(plot_importance(parameters)) == ["rate", "width"]


def test_builders_come_with_their_standard_errors() -> None:
    scores = Scores(num_rows=2, loss=Interval(1.0, 0.5, 1.5))
    report = Report(
        reason="",
        nested=scores,
        single_best=scores,
        builders={"greedy(num_rounds=50)": (0.2, 0.05), "best(num_members=1)": (0.3, 0.1)},
    )
    figure = plot_builders(report.builders)
    assert labels(figure) == ["greedy", "best"]
    (bars,) = figure.axes[0].collections
    assert isinstance(bars, LineCollection)
    ends = np.array(bars.get_segments())
    assert ends[:, :, 0] == pytest.approx(np.array([[0.15, 0.25], [0.2, 0.4]]))


def test_reliability_is_accuracy_by_confidence() -> None:
    """Sure by 0.75 and right in one row of two; sure by 0.95 and right in both."""
    probabilities = np.array([[0.75, 0.25], [0.75, 0.25], [0.95, 0.05], [0.05, 0.95]])
    figure = plot_reliability(probabilities, np.array([0, 1, 0, 1]))
    line = figure.axes[0].lines[1]
    assert line.get_xdata() == pytest.approx([0.75, 0.95])
    assert line.get_ydata() == pytest.approx([0.5, 1.0])

"""Figures of an ensemble: its members, its calibration, and what matters for it."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rayfold.ensemble.evaluation.scores import NUM_BINS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, ROW_HEIGHT = 6.0, 0.3
"""Inches."""

LARGEST = 20
"""Bars of a figure, at most: the largest ones."""


def plot_members(table: pd.DataFrame) -> "Figure":
    """Return the members' weights as bars.

    Args:
        table: Of ``Ensemble.table()``.
    """
    return _bars(table["trial"].astype(str), table["weight"], "weight")


def plot_importance(table: pd.DataFrame) -> "Figure":
    """Return importances as bars, the largest 20 of them.

    Args:
        table: Of ``hyperparameter_importance`` or ``feature_importance``.
    """
    if "parameter" in table:
        return _bars(table["parameter"], table["importance"], "share of the scores' variance")
    names = [
        f"{name}{list(place) if place else ''}"
        for name, place in zip(table["input"], table["place"], strict=True)
    ]
    return _bars(pd.Series(names), table["importance"], "increase of the loss when shuffled")


def plot_builders(builders: Mapping[str, tuple[float, float]]) -> "Figure":
    """Return the nested loss of each builder that was tried, with its standard error.

    Args:
        builders: Both by the builder's name, as ``Report.builders`` holds them.
    """
    names, figures = list(builders), list(builders.values())
    figure = _figure(len(names))
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    losses, errors = np.array(figures).T
    axes.errorbar(losses, places, xerr=errors, fmt="o")
    axes.set_yticks(places, [name.partition("(")[0] for name in names])
    axes.set_xlabel("nested out-of-fold loss")
    return figure


def plot_reliability(probabilities: NDArray[np.float64], target: NDArray[np.integer]) -> "Figure":
    """Return how often the most probable class was right, by how probable it was.

    Args:
        probabilities: Shape ``(rows, classes)``.
        target: Class indices, shape ``(rows,)``.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == target
    bins = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    used = np.unique(bins)
    figure = _figure(12)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    axes.plot(
        [confidence[bins == one].mean() for one in used],
        [right[bins == one].mean() for one in used],
        marker="o",
    )
    axes.set_xlabel("probability of the predicted class")
    axes.set_ylabel("share of rows where it is right")
    return figure


def png(figure: "Figure") -> bytes:
    """Return a figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _bars(names: pd.Series, values: pd.Series, label: str) -> "Figure":
    order = np.argsort(-values.to_numpy(), kind="stable")[:LARGEST]
    figure = _figure(len(order))
    axes = figure.subplots()
    places = np.arange(len(order))[::-1]
    axes.barh(places, values.to_numpy()[order])
    axes.set_yticks(places, names.to_numpy()[order])
    axes.set_xlabel(label)
    return figure


def _figure(rows: int) -> "Figure":
    """Return a figure that no window knows of."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, 1.0 + ROW_HEIGHT * rows), layout="constrained")

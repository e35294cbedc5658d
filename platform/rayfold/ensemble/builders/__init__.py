"""Builders of ensembles, one to a file."""

from functools import partial

from rayfold.ensemble.builders.base import Builder, Selection
from rayfold.ensemble.builders.best import Best
from rayfold.ensemble.builders.convex import Convex
from rayfold.ensemble.builders.greedy import DEFAULT_ROUNDS, Greedy, greedy_selection
from rayfold.ensemble.builders.stacking import Stacked
from rayfold.registry import Registry

__all__ = [
    "BUILDERS",
    "DEFAULT_ROUNDS",
    "Best",
    "Builder",
    "Convex",
    "Greedy",
    "Selection",
    "Stacked",
    "greedy_selection",
]

BUILDERS = Registry[Builder](
    "builder",
    "rayfold.ensemble:Builder",
    {
        "greedy": Greedy,
        "uniform": Best,
        "by-score": partial(Best, weighting="score"),
        "convex": Convex,
        "stacked": Stacked,
        "single-best": partial(Best, 1, calibrate=False),
    },
)
"""The builders by the names that ``rayfold ensemble`` uses."""

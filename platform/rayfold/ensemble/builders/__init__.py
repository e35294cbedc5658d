"""Builders of ensembles, one to a file."""

from rayfold.ensemble.builders.base import Builder, Selection
from rayfold.ensemble.builders.best import Best
from rayfold.ensemble.builders.convex import Convex
from rayfold.ensemble.builders.greedy import DEFAULT_ROUNDS, Greedy, greedy_selection
from rayfold.ensemble.builders.stacking import Stacked

__all__ = [
    "DEFAULT_ROUNDS",
    "Best",
    "Builder",
    "Convex",
    "Greedy",
    "Selection",
    "Stacked",
    "greedy_selection",
]

"""Searchers: they propose configurations and learn from scores, without Ray."""

from rayfold.search.base import Observation, Searcher, Suggestion
from rayfold.search.bayesian import Bayesian
from rayfold.search.fixed import Fixed
from rayfold.search.genetic import Genetic
from rayfold.search.past import Past, PastStudy
from rayfold.search.random import Random
from rayfold.search.registry import SEARCHERS, create

__all__ = [
    "Bayesian",
    "Fixed",
    "Genetic",
    "Observation",
    "Past",
    "PastStudy",
    "Random",
    "SEARCHERS",
    "Searcher",
    "Suggestion",
    "create",
]

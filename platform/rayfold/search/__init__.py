"""Searchers: they propose configurations and learn from scores, without Ray."""

from rayfold.registry import Registry
from rayfold.search.base import Observation, Searcher, Suggestion
from rayfold.search.bayesian import Bayesian
from rayfold.search.fixed import Fixed
from rayfold.search.genetic import Genetic
from rayfold.search.past import Past, PastStudy
from rayfold.search.random import Random

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
]

SEARCHERS = Registry[Searcher](
    "searcher",
    "rayfold.search:Searcher",
    {"random": Random, "genetic": Genetic, "bayesian": Bayesian, "fixed": Fixed},
)
"""The searchers by the names that recipes use."""

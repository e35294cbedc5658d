"""Bayesian search: a surrogate model of the score says where to look next."""

from rayfold.search.bayesian.searcher import Bayesian

__all__ = ["Bayesian"]

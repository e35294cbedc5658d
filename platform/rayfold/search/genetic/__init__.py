"""Genetic search: generation by generation, or without a barrier."""

from rayfold.search.genetic.searcher import Genetic

__all__ = ["Genetic"]

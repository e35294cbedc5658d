"""Strategies: how the workers of a group train together; one in each file."""

from rayfold.training.strategies.all_reduce import AllReduce
from rayfold.training.strategies.base import Share, Strategy

__all__ = ["AllReduce", "Share", "Strategy"]

"""How the workers of a group train together; one strategy a file."""

from rayfold.training.strategies.all_reduce import AllReduce
from rayfold.training.strategies.base import Share, Strategy

__all__ = ["AllReduce", "Share", "Strategy"]

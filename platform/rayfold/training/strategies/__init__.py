"""Strategies: how the workers of a group train together; one in each file."""

from rayfold.training.strategies.all_reduce import AllReduce
from rayfold.training.strategies.base import Share, Strategy
from rayfold.user_code import Source, load_class

__all__ = ["AllReduce", "Share", "Strategy", "load_strategy"]


def load_strategy(source: Source) -> type[Strategy]:
    """Import the strategy that a source names.

    Raises:
        ModelError: If it cannot be imported, or is no strategy.
    """
    found: type[Strategy] = load_class(source, Strategy)
    return found

"""How the workers of one group share a batch and its gradient; one strategy a file."""

from rayfold.training.strategies.base import Strategy
from rayfold.training.strategies.data_parallel import DataParallel
from rayfold.training.strategies.single import SingleProcess

__all__ = ["DataParallel", "SingleProcess", "Strategy"]

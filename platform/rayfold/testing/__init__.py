"""Contracts: tests that everyone who writes a part of their own can inherit. They need pytest."""

from rayfold.testing.learners import LearnerContract
from rayfold.testing.schedulers import SchedulerContract
from rayfold.testing.searchers import SearcherContract
from rayfold.testing.strategies import StrategyContract

__all__ = ["LearnerContract", "SchedulerContract", "SearcherContract", "StrategyContract"]

"""Contracts: tests that everyone who writes a part of their own can inherit. They need pytest."""

from rayfold.testing.schedulers import SchedulerContract
from rayfold.testing.searchers import SearcherContract

__all__ = ["SchedulerContract", "SearcherContract"]

"""Contracts: tests that everyone who writes a part of their own can inherit. They need pytest."""

from rayfold.testing.builders import BuilderContract
from rayfold.testing.schedulers import SchedulerContract
from rayfold.testing.searchers import SearcherContract
from rayfold.testing.tasks import TaskContract

__all__ = ["BuilderContract", "SchedulerContract", "SearcherContract", "TaskContract"]

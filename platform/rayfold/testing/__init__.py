"""Contracts: tests to inherit for your own searchers, losses and so on. They need pytest."""

from rayfold.testing.builders import BuilderContract
from rayfold.testing.learners import LearnerContract
from rayfold.testing.losses import LossContract
from rayfold.testing.metrics import MetricContract
from rayfold.testing.schedulers import SchedulerContract
from rayfold.testing.searchers import SearcherContract
from rayfold.testing.sources import SourceContract
from rayfold.testing.strategies import StrategyContract
from rayfold.testing.tasks import TaskContract

__all__ = [
    "BuilderContract",
    "LearnerContract",
    "LossContract",
    "MetricContract",
    "SchedulerContract",
    "SearcherContract",
    "SourceContract",
    "StrategyContract",
    "TaskContract",
]

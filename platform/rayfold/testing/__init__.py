"""Contracts: tests to inherit for your own searchers, losses and so on. They need pytest."""

import pkgutil

import pytest

# Before their imports: an assert that fails in a contract then shows its values.
pytest.register_assert_rewrite(
    *(f"{__name__}.{found.name}" for found in pkgutil.iter_modules(__path__))
)

from rayfold.testing.builders import BuilderContract  # noqa: E402
from rayfold.testing.learners import LearnerContract  # noqa: E402
from rayfold.testing.losses import LossContract  # noqa: E402
from rayfold.testing.metrics import MetricContract  # noqa: E402
from rayfold.testing.schedulers import SchedulerContract  # noqa: E402
from rayfold.testing.searchers import SearcherContract  # noqa: E402
from rayfold.testing.sources import SourceContract  # noqa: E402
from rayfold.testing.strategies import StrategyContract  # noqa: E402
from rayfold.testing.tasks import TaskContract  # noqa: E402

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

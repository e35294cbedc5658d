"""The examples of ``platform/docs/extending.md`` keep the contracts."""

from rayfold.ensemble import Builder
from rayfold.schedulers import Scheduler
from rayfold.search import Searcher
from rayfold.tasks import Regression
from rayfold.testing import (
    BuilderContract,
    LossContract,
    MetricContract,
    SchedulerContract,
    SearcherContract,
)
from tests.examples.hill_climber import HillClimber
from tests.examples.median_loss import MedianLoss
from tests.examples.median_stopping import MedianStopping


class TestHillClimber(SearcherContract):
    def make_searcher(self, random_seed: int) -> Searcher:
        return HillClimber(random_seed=random_seed)


class TestMedianStopping(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return MedianStopping()


class TestMedianLoss(BuilderContract):
    def make_builder(self) -> Builder:
        return MedianLoss()


class TestFocal(LossContract):
    loss = "tests/examples/focal.py:Focal"


class TestGeometricMean(MetricContract):
    metric = "tests/examples/geometric_mean.py:GeometricMean"


class TestAuroc(MetricContract):
    metric = "auroc"


class TestR2(MetricContract):
    metric = "r2"
    task = Regression()

"""The schedulers that come with Rayfold keep the contract that third parties inherit."""

from rayfold.schedulers import Halving, Population, Racing, Scheduler
from rayfold.testing import SchedulerContract


class TestRacing(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return Racing()


class TestForgivingRacing(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return Racing(rule="forgiving", top=0)


class TestPairedRacing(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return Racing(rule="paired", top=0.2, level=0.2)


class TestHalving(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return Halving(reduction=2)


class TestPopulation(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return Population(interval=2)

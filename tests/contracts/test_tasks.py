"""Every task that comes with Rayfold, and one of a user's own, held to the contract."""

import numpy as np
import pytest

from rayfold.tasks import TASKS, Classification, Labels, Regression, Task
from rayfold.testing import TaskContract
from tests.examples.counts import Counts


class TestClassification(TaskContract):
    def make_task(self) -> Task:
        return Classification()

    def make_labels(self, num_rows: int) -> Labels:
        return np.array(["ant", "bee", "cat"], dtype=object)[np.arange(num_rows) % 3]


class TestRegression(TaskContract):
    def make_task(self) -> Task:
        return Regression()

    def make_labels(self, num_rows: int) -> Labels:
        return np.arange(2.0 * num_rows, dtype=np.float32).reshape(num_rows, 2) / 8


class TestCounts(TaskContract):
    @pytest.fixture(autouse=True)
    def _registered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(TASKS, "counts", Counts())

    def make_task(self) -> Task:
        return Counts()

    def make_labels(self, num_rows: int) -> Labels:
        return np.arange(num_rows) % 4

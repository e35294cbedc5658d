from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rayfold.data import DataSet, Folds
from rayfold.jobs import FoldJob
from rayfold.library import model_source
from rayfold.tasks import Classification, Regression
from rayfold.training import FoldRun, Settings, SingleProcess, StudySetup

MakeRun = Callable[..., FoldRun]
MakeSetup = Callable[..., StudySetup]


def in_memory(features: tuple[np.ndarray, ...], labels: np.ndarray, num_classes: int) -> DataSet:
    return DataSet(
        features=features,
        feature_names=tuple(f"features_{number}" for number in range(len(features))),
        labels=labels,
        row_groups=None,
        task=Classification() if num_classes else Regression(),
        classes=tuple(range(num_classes)) if num_classes else None,
        digest="d" * 64,
        development_rows=np.arange(len(labels)),
        test_rows=np.arange(0),
    )


@pytest.fixture
def data() -> DataSet:
    """60 rows of 4 numbers in 3 classes, two of which overlap."""
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = generator.normal(size=(60, 4)) + labels[:, None]
    return in_memory((features.astype(np.float32),), labels, 3)


@pytest.fixture
def two_inputs(data: DataSet) -> DataSet:
    """The same rows with a second array: bytes of shape (2, 3)."""
    generator = np.random.default_rng(1)
    second = generator.integers(0, 256, size=(60, 2, 3), dtype=np.uint8)
    return in_memory((*data.features, second), data.labels, 3)


@pytest.fixture
def regression() -> Callable[[int], DataSet]:
    """60 rows whose labels are sums of their features: ``regression(num_outputs)``."""

    def build(num_outputs: int) -> DataSet:
        features = np.random.default_rng(2).normal(size=(60, 4)).astype(np.float32)
        labels = features[:, :num_outputs] + features[:, 2:3]
        return in_memory((features,), labels, 0)

    return build


@pytest.fixture
def make_setup(data: DataSet, tmp_path: Path) -> MakeSetup:
    """Three folds of the mlp, four epochs: ``make_setup("folder", data=..., epochs=...)``."""

    def make(folder: str = "study", data: DataSet = data, **settings: Any) -> StudySetup:
        parameters = settings.pop("parameters", {})
        return StudySetup(
            model=model_source("mlp"),
            settings=Settings(**{"epochs": 4, **settings}),
            plan=Folds(3).split(data),
            folder=tmp_path / folder,
            parameters=parameters,
        )

    return make


@pytest.fixture
def make_run(data: DataSet) -> MakeRun:
    """Start, or take up, a fold in this process: ``make_run(job, setup)``."""

    def make(job: FoldJob, setup: StudySetup, data: DataSet = data) -> FoldRun:
        return FoldRun(job, setup=setup, data=data, collective=SingleProcess())

    return make

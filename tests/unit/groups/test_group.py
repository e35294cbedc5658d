"""What a worker makes of a job, in this process: the training is real, the link is none."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from torch import Tensor, nn

from rayfold.data import DataSet, Folds
from rayfold.groups.group import _FoldTrainer, _Link
from rayfold.jobs import FoldJob
from rayfold.library import model_source
from rayfold.tasks import Classification
from rayfold.training import Settings, SingleProcess, StudySetup

Disk = tuple[Path, Callable[[str], None]]
WEIGHTS_OVER_1_MB = {"model.hidden": 1000, "batch_size": 16}


class Stopped(BaseException):
    """A user's own, outside of ``Exception``."""


class Raising(nn.Module):
    """Raises in training what its argument names."""

    ERRORS = (GeneratorExit, asyncio.CancelledError, SystemExit, KeyboardInterrupt, Stopped)

    def __init__(self, error: int, num_outputs: int) -> None:
        super().__init__()
        self.error, self.layer = error, nn.Linear(4, num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        raise self.ERRORS[self.error]("no")


class Alone:
    """The link of a group of one worker, whom nobody stops."""

    def should_stop(self) -> bool:
        return False

    def all_ranks_failed(self, *_: Any) -> bool:
        return True


@pytest.fixture
def data() -> DataSet:
    labels = np.arange(60) % 3
    features = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    return DataSet(
        features=(features,),
        feature_names=("features",),
        labels=labels,
        row_groups=None,
        task=Classification(),
        classes=(0, 1, 2),
        digest="d" * 64,
        development_rows=np.arange(60),
        test_rows=np.arange(0),
    )


def setup_of(data: DataSet, model: str | type[nn.Module], folder: Path) -> StudySetup:
    """Return a setup that writes a checkpoint after each epoch."""
    return StudySetup(
        model=model_source(model),
        settings=Settings(epochs=2, checkpoint_seconds=0.0),
        plan=Folds(3).split(data),
        folder=folder / "study",
        parameters={},
    )


@pytest.fixture
def trainer(data: DataSet, small_disk: Disk) -> _FoldTrainer:
    """Of a study whose storage holds 1 MB, which writes a checkpoint after each epoch."""
    setup = setup_of(data, "mlp", small_disk[0])
    return _FoldTrainer({"digits": setup}, data, SingleProcess())


def test_a_full_disk_is_a_fault_of_the_machine_and_the_same_order_succeeds_later(
    trainer: _FoldTrainer, small_disk: Disk
) -> None:
    folder, enlarge = small_disk
    job = FoldJob(study="digits", trial="0000", config=WEIGHTS_OVER_1_MB, fold=0, until_epoch=2)
    link = cast(_Link, Alone())
    for _ in range(2):
        outcome = trainer.carry_out(job, link)
        assert outcome.error is None
        assert outcome.result is None
        assert f"free on {folder})" in (outcome.fault or "")
    enlarge("200m")
    outcome = trainer.carry_out(job, link)
    assert (outcome.error, outcome.fault) == (None, None)
    assert outcome.result is not None
    assert len(outcome.result.history) == 2


def test_an_error_of_the_model_is_none_of_the_machines(
    trainer: _FoldTrainer,
) -> None:
    wrong = FoldJob(
        study="digits", trial="0000", config={"model.hidden": -1}, fold=0, until_epoch=2
    )
    outcome = trainer.carry_out(wrong, cast(_Link, Alone()))
    assert outcome.fault is None
    assert outcome.error is not None


@pytest.mark.parametrize("number", range(len(Raising.ERRORS)))
def test_whatever_a_model_raises_is_an_error_of_its_configuration(
    number: int, data: DataSet, tmp_path: Path
) -> None:
    setup = setup_of(data, Raising, tmp_path)
    trainer = _FoldTrainer({"digits": setup}, data, SingleProcess())
    config = {"model.error": number}
    job = FoldJob(study="digits", trial="0000", config=config, fold=0, until_epoch=2)
    outcome = trainer.carry_out(job, cast(_Link, Alone()))
    assert outcome.fault is None
    assert Raising.ERRORS[number].__name__ in (outcome.error or "")

"""Groups on a real Ray: jobs, deaths, failures, and nothing left behind."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, NoReturn

import numpy as np
import psutil
import pytest
import ray
import torch
from ray.util.placement_group import placement_group_table
from safetensors.torch import load_file
from torch import nn

from rayfold.data import HDF5, DataSet, Folds, load
from rayfold.data.staging import stage
from rayfold.groups.plan import Groups
from rayfold.groups.pool import Pool
from rayfold.groups.snapshot import GroupState
from rayfold.jobs import FoldJob, FoldOutcome
from rayfold.library import model_source
from rayfold.results import FoldResult
from rayfold.training import FoldRun, Settings, SingleProcess, StudySetup

CONFIG = {"model.width": 16, "optimizer.learning_rate": 0.01}
DEADLINE_SECONDS = 300.0
EPOCHS = 150
"""They last for seconds, so that a worker can be killed among them."""


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


HAZARDS: dict[str, Callable[[], object]] = {
    "none": lambda: None,
    "sys.exit": lambda: sys.exit(3),
    "interrupt": interrupt,
    "os._exit": lambda: os._exit(3),
    "abort": os.abort,
    "segfault": lambda: ctypes.string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": lambda: time.sleep(1e6),
}

pytestmark = pytest.mark.usefixtures("ray_session")


class Net(nn.Module):
    """Two layers; fails in its forward pass when ``width`` is odd, or as ``hazard`` says."""

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_outputs: int,
        width: int = 2,
        hazard: str = "none",
    ) -> None:
        super().__init__()
        self.width, self.hazard = width, hazard
        size = int(np.prod(input_shape))
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(size, width), nn.ReLU(), nn.Linear(width, num_outputs)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        HAZARDS[self.hazard]()
        if self.width % 2:
            raise RuntimeError(f"an odd width of {self.width}")
        outputs: torch.Tensor = self.layers(features)
        return outputs


@pytest.fixture(scope="module")
def data(digits: Path) -> DataSet:
    return load(HDF5(digits))


def make_setup(data: DataSet, folder: Path) -> StudySetup:
    return StudySetup(
        model=model_source(Net),
        settings=Settings(epochs=EPOCHS, metrics=("accuracy",), checkpoint_seconds=0.0),
        plan=Folds(3).split(data),
        folder=folder,
    )


def fold_job(trial: str, fold: int, until_epoch: int = 3, **config: Any) -> FoldJob:
    return FoldJob(trial=trial, config={**CONFIG, **config}, fold=fold, until_epoch=until_epoch)


def hazardous(hazard: str) -> dict[str, Any]:
    return {"model.hazard": hazard}


def train_here(data: DataSet, folder: Path, job: FoldJob) -> FoldResult:
    """Train the same fold in this process, to its end."""
    setup = make_setup(data, folder)
    result = FoldRun(job, setup=setup, data=data, collective=SingleProcess()).advance(job)
    assert result is not None
    return result


@contextmanager
def leased(pool: Pool, trial: str, num_groups: int = 1) -> Iterator[None]:
    """Hold groups for a trial."""
    granted: Future[int] = Future()
    acquire = partial(pool.dispatcher.acquire, "", trial, num_groups)
    Thread(target=lambda: granted.set_result(acquire()), daemon=True).start()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not wait([granted], timeout=0.2).done:
        assert time.monotonic() < deadline
        pool.snapshot()  # raises when no group can start
    assert granted.result() == num_groups
    yield
    pool.dispatcher.release("", trial)


def carry_out(pool: Pool, *jobs: FoldJob) -> dict[int, FoldOutcome]:
    """Send jobs of one trial and return their outcomes by fold."""
    trial = jobs[0].trial
    pool.dispatcher.submit("", trial, jobs)
    outcomes: dict[int, FoldOutcome] = {}
    while len(outcomes) < len(jobs):
        outcomes |= {outcome.job.fold: outcome for outcome in wait_for_outcomes(pool, trial)}
    return outcomes


def wait_for_outcomes(pool: Pool, trial: str) -> list[FoldOutcome]:
    outcomes = pool.dispatcher.wait("", trial, DEADLINE_SECONDS)
    assert outcomes, f"none within {DEADLINE_SECONDS} s"
    return outcomes


def wait_for(pool: Pool, reached: Callable[[GroupState], bool]) -> GroupState:
    """Look until the group is there and as it should be."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        for group in pool.snapshot().groups:
            if reached(group):
                return group
        time.sleep(0.02)
    raise AssertionError(f"not reached within {DEADLINE_SECONDS} s: {pool.snapshot()}")


class TestOneGroupOfTwoWorkers:
    """One pool serves these tests in turn: two gloo workers behind one rank 0."""

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("two-workers")

    @pytest.fixture(scope="class")
    @classmethod
    def pool(cls, data: DataSet, folder: Path) -> Iterator[Pool]:
        groups = Groups(workers=2, cpus_per_worker=0.5)
        pool = Pool(
            groups,
            setups={"": make_setup(data, folder)},
            data=stage(data),
            folder=folder / "ray",
        )
        try:
            pool.start()
            yield pool
        finally:
            pool.stop()

    @pytest.fixture(scope="class")
    @classmethod
    def alone(cls, data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> FoldResult:
        """Fold 0 of one configuration, trained by this process alone."""
        return train_here(data, tmp_path_factory.mktemp("alone"), fold_job("0000", 0, EPOCHS))

    def test_it_gives_the_losses_of_one_process_epoch_by_epoch(
        self, pool: Pool, alone: FoldResult
    ) -> None:
        with leased(pool, "0000"):
            for epoch, of_one in enumerate(alone.history[:5], 1):
                of_two = carry_out(pool, fold_job("0000", 0, epoch))[0].metrics
                for name in ("train_loss", "val_loss", "val_accuracy"):
                    assert of_two[name] == pytest.approx(of_one[name], abs=1e-5)

    def test_a_killed_worker_costs_no_more_than_the_epochs_since_its_checkpoint(
        self, pool: Pool, alone: FoldResult, folder: Path
    ) -> None:
        """With a checkpoint every epoch, epochs before the kill keep their time stamps."""
        job = fold_job("0000", 0, EPOCHS)
        with leased(pool, "0000"):
            pool.dispatcher.submit("", "0000", [job])
            before = wait_for(pool, lambda group: group.trial == "0000" and group.epoch >= 8)
            os.kill(before.process_id, signal.SIGKILL)
            killed_at = time.time()
            (outcome,) = wait_for_outcomes(pool, "0000")
        (after,) = pool.snapshot().groups
        assert outcome.error is None
        assert outcome.result is not None
        finished = [entry["finished_at"] for entry in outcome.result.history]
        assert len(finished) == EPOCHS
        assert sum(at < killed_at for at in finished) >= before.epoch - 1
        assert max(finished) > killed_at
        assert after.num_starts == before.num_starts + 1
        assert after.process_id != before.process_id
        assert outcome.result.score == pytest.approx(alone.score, abs=1e-4)
        written = load_file(folder / str(outcome.result.predictions))
        assert written["predictions"].sum(1).numpy() == pytest.approx(1.0, abs=1e-5)

    def test_an_exception_in_the_model_is_an_outcome_and_leaves_both_workers_alive(
        self, pool: Pool
    ) -> None:
        (before,) = pool.snapshot().groups
        with leased(pool, "0001"):
            odd = carry_out(pool, fold_job("0001", 0, **{"model.width": 3}))[0]
            even = carry_out(pool, fold_job("0001", 1))[1]
        (after,) = pool.snapshot().groups
        assert odd.error is not None
        assert "Traceback" in odd.error
        assert "RuntimeError: an odd width of 3" in odd.error
        assert (even.error, even.epoch) == (None, 3)
        assert (after.num_starts, after.process_id) == (before.num_starts, before.process_id)

    def test_nothing_is_left_when_the_pool_stops(self, pool: Pool, folder: Path) -> None:
        """The last test of this class: it ends the pool."""
        (group,) = pool.snapshot().groups
        workers = [
            process
            for process in psutil.Process(psutil.Process(group.process_id).ppid()).children()
            if process.name().startswith("ray::GroupWorker")
        ]
        assert group.process_id in {process.pid for process in workers}
        assert len(workers) == 2
        pool.stop()
        assert not psutil.wait_procs(workers, timeout=DEADLINE_SECONDS)[1]
        assert {entry["state"] for entry in placement_group_table().values()} <= {"REMOVED"}
        deadline = time.monotonic() + DEADLINE_SECONDS
        while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
            assert time.monotonic() < deadline
        open_files = [file.path for file in psutil.Process().open_files()]
        assert not [path for path in open_files if path.startswith(str(folder))]
        assert not (folder / "ray" / "groups").exists()


class TestWhatAModelMayDoToItsWorker:
    """One pool of one worker serves these tests in turn."""

    @pytest.fixture(scope="class")
    @classmethod
    def pool(cls, data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
        folder = tmp_path_factory.mktemp("hazards")
        pool = Pool(
            Groups(),
            setups={"": make_setup(data, folder)},
            data=stage(data),
            folder=folder / "ray",
            grace_seconds=1.0,
        )
        try:
            pool.start()
            yield pool
        finally:
            pool.stop()

    @pytest.mark.parametrize(
        ("hazard", "last_line"),
        [("sys.exit", "SystemExit: 3"), ("interrupt", "KeyboardInterrupt")],
    )
    def test_an_exit_or_interrupt_raised_in_python_is_an_outcome_like_any_error(
        self, hazard: str, last_line: str, pool: Pool
    ) -> None:
        with leased(pool, "0000"):
            (before,) = pool.snapshot().groups
            outcome = carry_out(pool, fold_job("0000", 0, **hazardous(hazard)))[0]
            well = carry_out(pool, fold_job("0000", 1))[1]
        (after,) = pool.snapshot().groups
        assert outcome.error is not None
        assert outcome.error.strip().splitlines()[-1] == last_line
        assert well.error is None
        assert (after.num_starts, after.process_id) == (before.num_starts, before.process_id)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("hazard", "cause"),
        [
            ("segfault", "it was ended by SIGSEGV, "),
            ("abort", "it was ended by SIGABRT, "),
            ("os._exit", "it exited with status 3 (os._exit)"),
            ("kill", "it was killed (SIGKILL)"),
        ],
    )
    def test_a_worker_that_ends_three_times_fails_its_order_with_the_true_cause(
        self, hazard: str, cause: str, pool: Pool
    ) -> None:
        trial = f"of {hazard}"
        with leased(pool, trial):
            outcome = carry_out(pool, fold_job(trial, 0, **hazardous(hazard)))[0]
            well = carry_out(pool, fold_job(trial, 1))[1]
        assert outcome.error is not None
        assert outcome.error.splitlines()[-1].startswith(cause)
        assert (__file__ in outcome.error) == (hazard != "kill")
        assert well.error is None

    def test_a_model_that_hangs_loses_its_worker_when_its_trial_is_over(self, pool: Pool) -> None:
        with leased(pool, "0005"):
            job = fold_job("0005", 0, **hazardous("hang"))
            pool.dispatcher.submit("", "0005", [job])
            hanging = wait_for(pool, lambda group: group.trial == "0005")
        process = psutil.Process(hanging.process_id)
        assert process.wait(timeout=DEADLINE_SECONDS) != 0
        with leased(pool, "0006"):
            assert carry_out(pool, fold_job("0006", 0))[0].error is None
        assert pool.snapshot().groups[0].num_starts == hanging.num_starts + 1


def test_workers_see_the_staged_data_without_a_copy(data: DataSet) -> None:
    reference = stage(data)

    @ray.remote(num_cpus=0.1)
    def look(staged: DataSet) -> list[tuple[bool, bool]]:
        return [(array.flags.writeable, array.flags.owndata) for array in staged.features]

    assert ray.get(look.remote(reference)) == [(False, False)]

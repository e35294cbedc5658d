"""The command line through a whole life: killed, taken up, interrupted, finished, used."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import psutil
import pytest

from rayfold.journal import Entry, read_journal

RAYFOLD = Path(sys.executable).with_name("rayfold")
DEADLINE_SECONDS = 180.0
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Two processes of Ray that try for a minute to tell a killed Ray of its own death, then end."""

RECIPE = """
study: digits
fixed:
  model: ./net.py:Net
  data: {hdf5: digits.h5, test_fraction: 0.2}
  folds: {count: 3, random_seed: 1}
  epochs: 40
search:
  space:
    model.width: {int: [8, 32]}
    optimizer.learning_rate: {float: [1e-3, 1e-2], log: true}
  searcher: {genetic: {population: 3, generations: 2, random_seed: 3}}
  num_trials: 5
accept:
  - {metric: val_accuracy, at_least: 0.999}
resources:
  groups: {minimum: 1, maximum: 1, cpus_per_worker: 0.5}
"""

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, *, input_shape, num_outputs, width=8):
        super().__init__()
        size = int(torch.Size(input_shape).numel())
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(size, width), nn.ReLU(), nn.Linear(width, num_outputs)
        )

    def forward(self, features):
        return self.layers(features)
"""


@pytest.fixture
def folder(digits: Path, tmp_path: Path) -> Path:
    (tmp_path / "digits.h5").write_bytes(digits.read_bytes())
    (tmp_path / "digits.yaml").write_text(RECIPE)
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


class Run:
    """``rayfold run digits.yaml`` as a process of its own, with all that it has started."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [RAYFOLD, "run", "digits.yaml"],
                cwd=folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._family: set[psutil.Process] = set()

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Look again and again until ``reached``; fail with the log when that cannot be."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not reached():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.1)  # leaves the cores to it between two looks
            with suppress(psutil.NoSuchProcess):
                self._family |= set(psutil.Process(self.process.pid).children(recursive=True))

    def end(self) -> set[psutil.Process]:
        """Wait for the process and all that it has started to be gone; return the agents left."""
        agents = {process for process in self._family if _name(process) in AGENTS}
        self.process.wait(DEADLINE_SECONDS)
        assert not psutil.wait_procs(self._family - agents, timeout=DEADLINE_SECONDS)[1]
        self._family.clear()
        return agents

    def close(self) -> None:
        """Kill whatever is left."""
        for process in [self.process, *self._family]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return "gone"


@contextmanager
def running(folder: Path, log: Path) -> Iterator[Run]:
    run = Run(folder, log)
    try:
        yield run
    finally:
        run.close()


def journal(folder: Path) -> list[Entry]:
    path = folder / "rayfold-store" / "digits" / "journal.jsonl"
    return read_journal(path) if path.exists() else []


def count(folder: Path, event: str) -> int:
    return sum(entry.event == event for entry in journal(folder))


def results(folder: Path) -> dict[Path, int]:
    """Return every fold's result file with the time of its last change."""
    trials = folder / "rayfold-store" / "digits" / "trials"
    return {path: path.stat().st_mtime_ns for path in trials.rglob("result.json")}


def test_a_study_is_killed_taken_up_interrupted_finished_and_used(folder: Path) -> None:
    """No fold that was finished is trained again, and each is journalled once."""
    log = folder / "log.txt"
    with running(folder, log) as run:
        run.wait_until(lambda: count(folder, "fold") >= 4)
        run.process.send_signal(signal.SIGKILL)
        agents = run.end()
    after_kill = results(folder)
    with running(folder, log) as run:
        folds = count(folder, "fold")
        run.wait_until(lambda: count(folder, "fold") > folds)
        run.process.send_signal(signal.SIGINT)
        assert not {process for process in run.end() if process.is_running()}
        assert run.process.returncode == 130, log.read_text()
    assert "Run 'rayfold run digits.yaml' again to go on." in log.read_text()
    assert journal(folder)[-1].fields["state"] == "interrupted"
    after_interruption = results(folder)
    done = subprocess.run(
        [RAYFOLD, "run", "digits.yaml"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "not accepted: val_accuracy should be at least 0.999, the best has 0." in done.stdout
    assert "Traceback" not in done.stdout + done.stderr

    at_the_end = results(folder)
    assert after_kill.items() <= at_the_end.items()
    assert after_interruption.items() <= at_the_end.items()
    assert len(at_the_end) == 15
    entries = journal(folder)
    folds_written = Counter(
        (entry.fields["trial"], entry.fields["result"]["fold"])
        for entry in entries
        if entry.event == "fold"
    )
    assert folds_written == {(f"{trial:04d}", fold): 1 for trial in range(5) for fold in range(3)}
    assert Counter(e.fields["trial"] for e in entries if e.event == "suggestion") == {
        f"{trial:04d}": 1 for trial in range(5)
    }

    table = output_of(folder, "trials", "digits", "--csv")
    assert len(table.strip().splitlines()) == 6
    output_of(folder, "ensemble", "digits", "--num-members", "3", "--export", "bundle")
    predicted = output_of(
        folder, "predict", "bundle", str(folder / "digits.h5"), "--held-out",
        "--allow-references", "--output", "predictions.h5",
    )  # fmt: skip
    assert predicted.startswith("72 rows, accuracy ")
    with h5py.File(folder / "predictions.h5") as file:
        assert file["predictions"].shape == (72,)
        assert file["probabilities"].shape == (72, 10)
    _, alive = psutil.wait_procs(agents, timeout=DEADLINE_SECONDS)
    for process in alive:
        process.kill()
    assert not alive


def output_of(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [RAYFOLD, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout

"""A small study as a user runs it, in a session of its own, so that no process is overlooked."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
from mlflow import MlflowClient

from rayfold.journal import Entry, read_journal

RAYFOLD = Path(sys.executable).with_name("rayfold")
DEADLINE_SECONDS = 300.0
GONE_SECONDS = 90.0
"""How long what a killed driver leaves may take to end: agents of Ray ask for a minute."""

MARK = "RAYFOLD_FAULT_TEST"
TRUE_STATUS = {"completed": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}

RECIPE = """
study: small
fixed:
  model: ./net.py:Net
  data: {hdf5: data.h5}
  folds: {count: 2, random_seed: 1}
  epochs: 10
search:
  space:
    model.width: {int: [4, 64]}
    batch_size: {choice: [16]}
  searcher: {random: {random_seed: 3}}
  num_trials: 2
resources:
  groups: {minimum: 1, maximum: 1, cpus_per_worker: 0.5}
"""

NET = """
import time

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, *, input_shape, num_outputs, width=8):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(input_shape[0], width), nn.ReLU(), nn.Linear(width, num_outputs)
        )

    def forward(self, features):
        if self.training:
            time.sleep(0.05)  # so that a fold takes a second or two
        return self.layers(features)
"""


def _as_in_a_terminal() -> None:
    """Let SIGHUP end the command, also where ``nohup`` runs the tests."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Command:
    """``rayfold run`` in a session of its own, all of whose processes carry a mark."""

    def __init__(self, folder: Path, *options: str, environment: dict[str, str]) -> None:
        self._log = folder / f"log-{uuid.uuid4().hex[:8]}.txt"
        self._mark = uuid.uuid4().hex
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [RAYFOLD, "run", "study.yaml", *options],
                cwd=folder,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **environment, MARK: self._mark},
                preexec_fn=_as_in_a_terminal,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def wait_until(self, reached: Callable[[], object]) -> None:
        """Look again and again until ``reached``; fail with the log when that cannot be."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not reached():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            self.pause(0.1)

    def pause(self, seconds: float) -> None:
        """Leave the cores to the command for a while, or until it ends."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def status(self, within: float = DEADLINE_SECONDS) -> int:
        """Wait for the end of the command, and return its exit status."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not ended after {within} s:\n{self.output}") from None

    def family(self) -> list[psutil.Process]:
        """Return all living processes that the command has started."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def named(self, name: str) -> list[psutil.Process]:
        """Return those of its processes whose command line holds ``name``."""
        return [process for process in self.family() if name in " ".join(process.cmdline())]

    def kill_named(self, name: str) -> None:
        """SIGKILL the processes whose command line holds ``name``, of which there must be one."""
        found = self.named(name)
        assert found, f"no process is called {name}: {[p.name() for p in self.family()]}"
        for process in found:
            process.kill()

    def leaves_nothing(self, within: float = GONE_SECONDS) -> bool:
        """Tell whether all its processes are gone; wait a little for those that are ending."""
        deadline = time.monotonic() + within
        while (alive := self.family()) and time.monotonic() < deadline:
            psutil.wait_procs(alive, timeout=0.2)
        return not alive

    def close(self) -> None:
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def _is_ours(self, process: psutil.Process) -> bool:
        """Ray renames its processes, which can wipe out their environment, but not the session."""
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if os.getsid(process.pid) == self.process.pid:
                return True
            return process.environ().get(MARK) == self._mark
        except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
            return False


class SmallStudy:
    """The folder of a small study, and what runs have left in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.commands = folder, list[Command]()
        self.environment: dict[str, str] = {}
        self.storage = folder / "rayfold-store"
        generator = np.random.default_rng(0)
        with h5py.File(folder / "data.h5", "w") as file:
            file["features"] = generator.normal(size=(64, 4)).astype(np.float32)
            file["labels"] = np.arange(64) % 2
        (folder / "study.yaml").write_text(RECIPE)
        (folder / "net.py").write_text(NET)

    def change(self, old: str, new: str) -> None:
        """Change the recipe."""
        text = (self.folder / "study.yaml").read_text()
        assert old in text
        (self.folder / "study.yaml").write_text(text.replace(old, new))

    def start(self, *options: str) -> Command:
        command = Command(self.folder, *options, environment=self.environment)
        self.commands.append(command)
        return command

    def close(self) -> None:
        """End whatever the commands have left running."""
        for command in self.commands:
            command.close()

    def run(self, *options: str) -> Command:
        """Run the command to its end."""
        command = self.start(*options)
        command.status()
        return command

    @property
    def journal(self) -> Path:
        return self.storage / "small" / "journal.jsonl"

    @property
    def entries(self) -> list[Entry]:
        return read_journal(self.journal) if self.journal.exists() else []

    def count(self, event: str) -> int:
        return sum(entry.event == event for entry in self.entries)

    @property
    def results(self) -> dict[Path, int]:
        """Every finished fold's result file, with the time of its last change."""
        found = self.storage.glob("small/trials/*/*/result.json")
        return {path: path.stat().st_mtime_ns for path in found}

    @property
    def statuses(self) -> dict[str, str]:
        """The end of each trial by the journal."""
        ends = [entry.fields for entry in self.entries if entry.event == "trial"]
        assert len({end["trial"] for end in ends}) == len(ends)
        return {end["trial"]: end["status"] for end in ends}

    def check_kept(self, before: dict[Path, int]) -> None:
        """Check that no fold that was finished has been trained again."""
        now = self.results
        assert {path: now.get(path) for path in before} == before
        trained = Counter(
            (entry.fields["trial"], entry.fields["result"]["fold"])
            for entry in self.entries
            if entry.event == "fold"
        )
        assert set(trained.values()) <= {1}

    def check_tracked(self) -> None:
        """Check that MLflow holds each trial once, with the status that the journal has."""
        client = MlflowClient(f"sqlite:///{self.storage / 'mlflow.db'}")
        experiments = [found.experiment_id for found in client.search_experiments()]
        children = [
            run
            for run in client.search_runs(experiments)
            if run.data.tags.get("rayfold.study") == "small" and "rayfold.trial" in run.data.tags
        ]
        ids = [run.data.tags["rayfold.trial"] for run in children]
        assert sorted(ids) == sorted(set(ids))
        tracked = {run.data.tags["rayfold.trial"]: run.info.status for run in children}
        assert tracked == {id_: TRUE_STATUS[end] for id_, end in self.statuses.items()}

    def check_whole(self, before: dict[Path, int], *, num_trials: int = 2) -> None:
        """Check that all trials are completed, and nothing is lost or doubled."""
        assert list(self.statuses.values()) == ["completed"] * num_trials
        self.check_kept(before)
        self.check_tracked()


@pytest.fixture(autouse=True, scope="session")
def _own_environment() -> Iterator[None]:
    """Nothing of the environment names another store or cluster."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        for name in ("RAYFOLD_STORAGE", "RAY_ADDRESS"):
            patch.delenv(name, raising=False)
        patch.setenv("COLUMNS", "200")
        yield


@pytest.fixture
def study(tmp_path: Path) -> Iterator[SmallStudy]:
    """A small study; whatever its commands leave running is ended."""
    small = SmallStudy(tmp_path)
    yield small
    small.close()


@pytest.fixture
def other_study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallStudy]:
    """A second one, with a storage of its own."""
    small = SmallStudy(tmp_path_factory.mktemp("other study"))
    yield small
    small.close()


@pytest.fixture(scope="module")
def long_study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallStudy]:
    """A study of many trials that goes on through all tests of a file."""
    small = SmallStudy(tmp_path_factory.mktemp("long study"))
    small.change("num_trials: 2", "num_trials: 200")
    yield small
    small.close()


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Callable[[str, float], None]:
    """Keep how many seconds something took since ``began``, for the table in reliability.md."""
    return lambda what, began: record_property(what, round(time.monotonic() - began, 1))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell the seconds that tests have kept."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for what, seconds in report.user_properties:
            terminalreporter.write_line(f"{seconds:6.1f} s {what}: {report.nodeid}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these tests to ``make faults``, which asks for them with ``-m faults``."""
    here = [item for item in items if item.path.parent == Path(__file__).parent]
    for item in here:
        item.add_marker(pytest.mark.faults)
    if "faults" not in config.getoption("markexpr"):
        items[:] = [item for item in items if item not in here]
        config.hook.pytest_deselected(items=here)

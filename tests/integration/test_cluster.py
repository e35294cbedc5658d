"""A race of folds, unchanged, as a Ray job on a cluster of three nodes on this machine.

The recipe is a regression of two feature arrays that maximises a metric; the other tests of whole
studies minimise the loss of a classification.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

import rayfold as rf
from rayfold.journal import Entry, read_journal
from rayfold.recipe import load_recipe
from rayfold.tracking import read_study

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
DEADLINE_SECONDS = 500.0

NUM_TRIALS, NUM_FOLDS, GOOD_RATE = 8, 3, 3e-3

RECIPE = f"""
study: table
fixed:
  model: mlp
  data: {{hdf5: table.h5, features: [left, right], labels: target}}
  holdout: 0.2
  folds: {{count: {NUM_FOLDS}}}
  epochs: 150
  metrics: [r2, mae]
  parameters: {{model.hidden: 16, optimizer.name: adam}}
search:
  metric: val_r2
  space:
    optimizer.learning_rate: {{choice: [1.0e-6, 1.0e-5, {GOOD_RATE}]}}  # two learn nothing
  searcher: {{random: {{random_seed: 2}}}}
  scheduler: {{racing: {{top: 0.0}}}}
  num_trials: {NUM_TRIALS}
resources:
  groups: {{minimum: 2, maximum: 2}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Cluster:
    """A head that computes nothing and two nodes of one CPU each.

    Each has ports and a temporary folder of its own. ``seen`` holds the names of the processes
    that each node had while a job ran, the head's first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nodes: list[subprocess.Popen[bytes]] = []
        self.seen: list[set[str]] = []
        self.port, self.dashboard_port = free_port(), free_port()
        token = folder / "token"
        token.write_text("0123456789abcdef" * 4)
        token.chmod(0o600)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
        }

    def start(self) -> None:
        head = [
            "--head",
            "--num-cpus=0",
            f"--port={self.port}",
            f"--dashboard-port={self.dashboard_port}",
        ]
        self._start_node(*head, "--include-dashboard=true")
        for _ in range(2):
            self._start_node("--num-cpus=1", f"--address=127.0.0.1:{self.port}")
        self.seen = [set() for _ in self._nodes]

    def _start_node(self, *options: str) -> None:
        number = len(self._nodes)
        temporary = self._folder / f"n{number}"
        temporary.mkdir()
        log = self._folder / f"node-{number}.log"
        command = [
            str(BIN / "ray"), "start", "--block", f"--temp-dir={temporary}",
            *options,
        ]  # fmt: skip
        ports = [
            f"--dashboard-agent-listen-port={free_port()}",
            f"--dashboard-agent-grpc-port={free_port()}",
            f"--metrics-export-port={free_port()}",
        ]
        with log.open("wb") as output:
            node = subprocess.Popen(
                [*command, *ports],
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._nodes.append(node)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while "Ray runtime started." not in log.read_text():
            assert node.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            with suppress(subprocess.TimeoutExpired):
                node.wait(0.2)  # leaves the cores to it between two looks

    def submit(self, work: Path, storage: Path) -> subprocess.CompletedProcess[str]:
        """Run the recipe of a folder as a job, and wait for its end."""
        command = [
            str(BIN / "ray"), "job", "submit",
            f"--address=http://127.0.0.1:{self.dashboard_port}",
            f"--working-dir={work}",
            f'--runtime-env-json={{"env_vars": {{"RAYFOLD_STORAGE": "{storage}"}}}}',
            "--", str(BIN / "rayfold"), "run", "table.yaml",
        ]  # fmt: skip
        log, deadline = self._folder / "job.log", time.monotonic() + DEADLINE_SECONDS
        with (
            log.open("wb") as output,
            subprocess.Popen(
                command, env=self.environment, stdout=output, stderr=output
            ) as process,
        ):
            while process.poll() is None:
                assert time.monotonic() < deadline, log.read_text()
                self._look()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
        return subprocess.CompletedProcess(command, process.returncode, log.read_text())

    def _look(self) -> None:
        for node, names in zip(self._nodes, self.seen, strict=True):
            for process in psutil.Process(node.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    names.add(process.name())

    def stop(self) -> None:
        """End both nodes and all that they have started, by process id."""
        family = [
            process
            for node in self._nodes
            if psutil.pid_exists(node.pid)
            for process in psutil.Process(node.pid).children(recursive=True)
        ]
        for node in self._nodes:
            node.kill()
            node.wait()
        for process in family:
            if process.is_running():
                process.kill()
        psutil.wait_procs(family, timeout=30)


def write_table(path: Path) -> None:
    """360 rows of 3 and 2 features, and a linear target."""
    generator = np.random.default_rng(0)
    left, right = generator.normal(size=(360, 3)), generator.normal(size=(360, 2))
    with h5py.File(path, "w") as file:
        file["left"], file["right"] = left, right
        file["target"] = (left.sum(1) - 2 * right[:, 0]).astype(np.float32)


@dataclass(frozen=True)
class Finished:
    """What the job has said, and where it has left the rest."""

    work: Path
    storage: Path
    output: str
    seen: list[set[str]]

    @property
    def entries(self) -> list[Entry]:
        return read_journal(self.storage / "table" / "journal.jsonl")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The job on its cluster, which is gone afterwards."""
    work = tmp_path_factory.mktemp("work")
    storage = tmp_path_factory.mktemp("store") / "shared-store"
    write_table(work / "table.h5")
    (work / "table.yaml").write_text(RECIPE)
    with tempfile.TemporaryDirectory(prefix="rf") as folder:  # short: sockets lie below it
        cluster = Cluster(Path(folder))
        try:
            cluster.start()
            done = cluster.submit(work, storage)
        finally:
            cluster.stop()
    assert done.returncode == 0, done.stdout
    return Finished(work, storage, done.stdout, cluster.seen)


@pytest.fixture
def result(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> rf.StudyResult:
    """What another run of the finished study returns, here, without a cluster."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("RAYFOLD_STORAGE", str(finished.storage))
    study = rf.Study.from_recipe(load_recipe(finished.work / "table.yaml"))
    return study.run(show_progress=False)


def test_groups_were_on_both_nodes(finished: Finished) -> None:
    nodes = [entry.fields["node"] for entry in finished.entries if entry.event == "group"]
    assert len(nodes) == len(set(nodes)) == 2
    assert re.search(r"8/8 trials|trial 000\d (completed|stopped)", finished.output)


def test_the_head_has_no_process_of_a_group_or_trial(finished: Finished) -> None:
    """A thousand groups would fill it. ``ResourceTrainable`` is what Tune calls a trial."""

    def has(names: set[str], kind: str) -> bool:
        return any(name.startswith(f"ray::{kind}") for name in names)

    head, *others = finished.seen
    assert has(head, "Dispatcher")
    assert [has(names, "GroupWorker") for names in (head, *others)] == [False, True, True]
    assert not has(head, "ResourceTrainable")
    assert any(has(names, "ResourceTrainable") for names in others)
    assert not any(has(names, "TrainController") for names in finished.seen)


def test_weak_trials_are_dropped_after_a_fold_or_two(result: rf.StudyResult) -> None:
    assert result.best is not None
    assert result.best.config["optimizer.learning_rate"] == GOOD_RATE
    assert len(result.best.folds) == NUM_FOLDS
    statuses = Counter(trial.status for trial in result.trials)
    assert statuses["stopped"] >= 2
    assert statuses.total() == NUM_TRIALS
    for trial in result.trials:
        complete = len(trial.folds) == NUM_FOLDS
        assert (trial.status == "completed") == complete
        assert trial.score == pytest.approx(
            sum(fold.score for fold in trial.folds) / len(trial.folds)
        )


def test_no_fold_is_begun_before_the_last_one_is_judged(
    finished: Finished, result: rf.StudyResult
) -> None:
    trained = {path.parent for path in (finished.storage / "table").rglob("result.json")}
    num_folds = sum(len(trial.folds) for trial in result.trials)
    assert len(trained) == num_folds < NUM_TRIALS * NUM_FOLDS


def test_stopped_trials_keep_their_folds_in_mlflow(
    finished: Finished, result: rf.StudyResult
) -> None:
    logged = read_study("table", storage=finished.storage, completed_only=False)
    assert {trial.id: (trial.status, trial.folds) for trial in logged.trials} == {
        trial.id: (trial.status, tuple(fold.fold for fold in trial.folds))
        for trial in result.trials
    }
    stopped = next(trial for trial in logged.trials if trial.status == "stopped")
    assert stopped.weights(stopped.folds[0]).is_file()
    assert not list((finished.storage / "table").rglob("*.pt"))


def test_a_finished_race_trains_nothing_more(
    finished: Finished, result: rf.StudyResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_entries = len(finished.entries)
    study = rf.Study.from_recipe(load_recipe(finished.work / "table.yaml"))
    assert study.run(show_progress=False).trials == result.trials
    assert [entry.event for entry in finished.entries[num_entries:]] == ["run", "run"]


def test_the_ensemble_predicts_from_both_feature_arrays(finished: Finished) -> None:
    study = read_study("table", storage=finished.storage)
    assert (study.description.metric, study.description.mode) == ("val_r2", "max")
    ensemble = rf.Ensemble.greedy("table", num_rounds=2, storage=finished.storage)
    assert ensemble.predict((np.zeros((7, 3)), np.zeros((7, 2)))).shape == (7,)

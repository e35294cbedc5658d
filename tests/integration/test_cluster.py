"""A recipe, unchanged, as a Ray job on a cluster of two nodes started on this machine.

The recipe is a regression of two feature arrays that maximises a metric; the other tests of whole
studies minimise the loss of a classification.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

import rayfold as rf
from rayfold.journal import read_journal
from rayfold.tracking import read_study

BIN = Path(sys.executable).parent
DEADLINE_SECONDS = 240.0

RECIPE = """
study: table
fixed:
  model: mlp
  data: {hdf5: table.h5, features: [left, right], labels: target, test_fraction: 0.2}
  folds: {count: 2}
  epochs: 200
  metrics: [r2, mae]
search:
  metric: val_r2
  space:
    optimizer.learning_rate: {float: [1e-3, 1e-2], log: true}
  searcher: random
  num_trials: 4
resources:
  groups: {minimum: 2, maximum: 2}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Cluster:
    """Two nodes of one CPU each, with ports and temporary folders of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nodes: list[subprocess.Popen[bytes]] = []
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
        head = ["--head", f"--port={self.port}", f"--dashboard-port={self.dashboard_port}"]
        self._start_node(*head, "--include-dashboard=true")
        self._start_node(f"--address=127.0.0.1:{self.port}")

    def _start_node(self, *options: str) -> None:
        number = len(self._nodes)
        temporary = self._folder / f"n{number}"
        temporary.mkdir()
        log = self._folder / f"node-{number}.log"
        command = [
            str(BIN / "ray"), "start", "--block", "--num-cpus=1", f"--temp-dir={temporary}",
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


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="rf") as folder:  # short: sockets lie below it
        cluster = Cluster(Path(folder))
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def write_table(path: Path) -> None:
    """360 rows of 3 and 2 features, and a linear target."""
    generator = np.random.default_rng(0)
    left, right = generator.normal(size=(360, 3)), generator.normal(size=(360, 2))
    with h5py.File(path, "w") as file:
        file["left"], file["right"] = left, right
        file["target"] = (left.sum(1) - 2 * right[:, 0]).astype(np.float32)


def test_a_recipe_runs_as_a_ray_job_with_groups_on_both_nodes(
    cluster: Cluster, tmp_path: Path
) -> None:
    work, storage = tmp_path / "work", tmp_path / "shared-store"
    work.mkdir()
    write_table(work / "table.h5")
    (work / "table.yaml").write_text(RECIPE)
    submit = [
        BIN / "ray", "job", "submit",
        f"--address=http://127.0.0.1:{cluster.dashboard_port}",
        f"--working-dir={work}",
        f'--runtime-env-json={{"env_vars": {{"RAYFOLD_STORAGE": "{storage}"}}}}',
        "--", str(BIN / "rayfold"), "run", "table.yaml",
    ]  # fmt: skip
    done = subprocess.run(
        submit,
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    entries = read_journal(storage / "table" / "journal.jsonl")
    nodes = [entry.fields["node"] for entry in entries if entry.event == "group"]
    assert len(nodes) == len(set(nodes)) == 2
    assert "4/4 trials" in done.stdout or "trial 0003 completed" in done.stdout
    study = read_study("table", storage=storage)
    assert len(study.trials) == 4
    assert (study.description["metric"], study.description["mode"]) == ("val_r2", "max")
    ensemble = rf.Ensemble.greedy("table", num_members=2, storage=storage)
    assert ensemble.predict((np.zeros((7, 3)), np.zeros((7, 2)))).shape == (7,)

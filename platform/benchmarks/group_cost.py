"""What a group costs: memory on the head node, memory elsewhere, and processors beside training.

Starts a cluster of three nodes on this machine, the head with no CPUs, and runs one study with few
groups and one with more. A cost per group is the difference of the two, divided by the difference
of the groups. Memory is USS, what a process has for itself alone; a process belongs to the node
whose raylet has started it. The driver, Ray's own services and the dispatcher are the head's.

Usage: ``python platform/benchmarks/group_cost.py [--groups 2 6] [--seconds 20]``
"""

import argparse
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import h5py
import psutil
import ray
from ray.cluster_utils import Cluster
from sklearn.datasets import load_digits

import rayfold as rf
from rayfold.journal import read_journal

DEADLINE_SECONDS = 300.0


@dataclass(frozen=True)
class Process:
    """A process at one moment: whether it is the head's, its name, bytes and seconds."""

    on_head: bool
    name: str
    bytes: int
    seconds: float


Looks: TypeAlias = "tuple[dict[int, Process], ...]"


def main() -> None:
    """Measure both studies and print the costs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, nargs=2, default=(2, 6), metavar=("FEW", "MORE"))
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    few, more = arguments.groups
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    measured = {number: measure(number, arguments.seconds) for number in (few, more)}
    step = more - few
    print(f"each the difference of {more} and {few} groups, by {step}")
    for on_head, place in ((True, "head"), (False, "elsewhere")):
        growth = bytes_at(measured[more], on_head) - bytes_at(measured[few], on_head)
        print(f"memory per group, {place:10}{growth / step / 1e6:8.0f} MB")
    beside = (
        processors_beside(measured[more], arguments.seconds)
        - processors_beside(measured[few], arguments.seconds)
    ) / step
    print(f"core per group beside its worker  {100 * beside:6.1f} %")
    for on_head, place in ((True, "head"), (False, "elsewhere")):
        print(f"{place}, {more} groups:")
        for name, (number, size) in by_name(measured[more], on_head).items():
            print(f"  {number:3} x {name:28}{size / 1e6:8.0f} MB in all")


def measure(num_groups: int, seconds: float) -> Looks:
    """Return the processes while the groups train, at two moments ``seconds`` apart."""
    with tempfile.TemporaryDirectory() as folder, nodes(num_groups) as head:
        study, looks = make_study(Path(folder), num_groups), []

        def watch() -> None:
            """Look twice once all groups are there, then end the run as Ctrl-C would."""
            try:
                wait_for_groups(study.folder / "journal.jsonl", num_groups)
                looks.append(processes(head))
                time.sleep(seconds)
                looks.append(processes(head))
            finally:
                os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=watch).start()
        study.run(show_progress=False)
        return tuple(looks)


@contextmanager
def nodes(num_groups: int) -> Iterator[int]:
    """Start a cluster with room for so many groups, and yield the head's raylet."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for part in (num_groups // 2, num_groups - num_groups // 2):
            cluster.add_node(num_cpus=part)
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster.head_node.all_processes["raylet"][0].process.pid
    finally:
        ray.shutdown()
        cluster.shutdown()


def make_study(folder: Path, num_groups: int) -> rf.Study:
    """Return a study that trains for longer than anybody looks."""
    digits = load_digits()
    with h5py.File(folder / "digits.h5", "w") as file:
        file["features"], file["labels"] = digits.images.astype("float32"), digits.target
    return rf.Study(
        "cost",
        model="cnn",
        data=rf.HDF5(folder / "digits.h5"),
        space="cnn",
        folds=rf.Folds(3),
        epochs=10_000,
        groups=rf.Groups(num_groups, num_groups),
        storage=folder / "store",
    )


def wait_for_groups(journal: Path, number: int) -> None:
    """Wait until all groups are ready, and a little longer, for the trials' actors."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not journal.is_file() or num_ready(journal) < number:
        if time.monotonic() > deadline:
            raise TimeoutError("the groups are not ready in time")
        time.sleep(0.5)
    time.sleep(10.0)


def num_ready(journal: Path) -> int:
    return sum(entry.event == "group" for entry in read_journal(journal))


def processes(head: int) -> dict[int, Process]:
    """Return this process and all that it has started, by process id."""
    found = {}
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.Error):
            raylets = [one.pid for one in process.parents() if one.name() == "raylet"]
            times = process.cpu_times()
            found[process.pid] = Process(
                on_head=process.pid == head or not raylets or head in raylets,
                name=process.name(),
                bytes=process.memory_full_info().uss,
                seconds=times.user + times.system,
            )
    return found


def bytes_at(looks: Looks, on_head: bool) -> int:
    return sum(process.bytes for process in looks[1].values() if process.on_head == on_head)


def processors_beside(looks: Looks, seconds: float) -> float:
    """Return how many cores all processes but the workers of groups took."""
    before, after = looks
    spent = sum(
        process.seconds - before[number].seconds
        for number, process in after.items()
        if number in before and not process.name.startswith("ray::GroupWorker")
    )
    return spent / seconds


def by_name(looks: Looks, on_head: bool) -> dict[str, list[int]]:
    """Return for each name how many processes have it, and their bytes."""
    sums: dict[str, list[int]] = {}
    for process in looks[1].values():
        if process.on_head == on_head:
            entry = sums.setdefault(process.name, [0, 0])
            entry[0] += 1
            entry[1] += process.bytes
    return dict(sorted(sums.items(), key=lambda item: -item[1][1]))


if __name__ == "__main__":
    main()

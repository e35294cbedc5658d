"""How many groups a dispatcher serves: pretended groups and trials against the real one on Ray.

Several processes pretend hundreds of groups each: they ask for jobs, "train" by sleeping, tell
how far they are, and hand in results with a history of 30 epochs. As many trials and a quarter
more take one group each, for three folds. Beside them, as in a study, the driver looks at the pool
twice a second. In the end the run is interrupted.

Prints for each number of groups, from ``--warm-up`` seconds after almost all of them train:

* how long an exchange takes, from handing in an outcome to holding the next job: while the next
  fold of the same trial waits ("job"), and when a new trial comes in between ("new trial");
* how long the driver's look at the pool takes;
* the share of a core that the dispatcher's processes, those that pretend and Ray's own take;
* how long it takes from the interruption until the last group in training knows of it.

Usage: ``python platform/benchmarks/dispatcher.py [--groups 100 1000 4000] [--fold-seconds 60]
[--warm-up 60] [--seconds 40] [--processes 3]``
"""

import argparse
import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil
import ray

from rayfold.groups.client import DispatcherClient
from rayfold.groups.cluster import cluster
from rayfold.groups.dispatcher import Dispatcher
from rayfold.jobs import FoldJob, FoldOutcome
from rayfold.results import FoldResult

FOLDS_PER_TRIAL = 3
SPARE = 0.25
"""Trials that wait for a group, as a share of the groups."""

ALMOST_ALL = 0.95
"""Groups that train when measuring begins, as a share: a few are always between two trials."""

LOOK_SECONDS = 0.5
START_SECONDS = 120.0


def main() -> None:
    """Measure each number of groups in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, nargs="+", default=[100, 1000, 4000])
    parser.add_argument("--fold-seconds", type=float, default=60.0)
    parser.add_argument("--warm-up", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--processes", type=int, default=3)
    arguments = parser.parse_args()
    with cluster():
        for num_groups in arguments.groups:
            print(
                f"{num_groups} groups, folds of {arguments.fold_seconds:g} s, "
                f"{arguments.processes} processes pretend:"
            )
            measure(num_groups, arguments)


def measure(num_groups: int, arguments: argparse.Namespace) -> None:
    """Run one number of groups and print what came of it."""
    fold_seconds, num_processes = arguments.fold_seconds, arguments.processes
    client = DispatcherClient.start(num_groups)
    crowds = [
        ray.remote(num_cpus=0, max_concurrency=8)(Crowd).remote(
            client, range(number, num_groups, num_processes), fold_seconds
        )
        for number in range(num_processes)
    ]
    began = time.monotonic()
    ray.get([crowd.start.remote() for crowd in crowds])
    try:
        while (busy := client.snapshot().num_busy) < ALMOST_ALL * num_groups:
            if time.monotonic() - began > START_SECONDS:
                print(f"  only {busy} have a job after {START_SECONDS:g} s")
                return
            time.sleep(0.2)
        print(f"  {ALMOST_ALL:.0%} have a job after     {time.monotonic() - began:8.1f} s")
        time.sleep(arguments.warm_up)
        ray.get([crowd.forget.remote() for crowd in crowds])
        with looking(client) as looks, cpu_shares() as shares:
            time.sleep(arguments.seconds)
        times = [ray.get(crowd.times.remote()) for crowd in crowds]
        show("job", [value for each in times for value in each["job"]])
        show("new trial", [value for each in times for value in each["new trial"]])
        show("look", looks)
        for name, share in shares.items():
            print(f"  {name:28s} {share:8.2f} of a core")
        at = time.time()
        client.interrupt()
        told = max(ray.get([crowd.last_told.remote() for crowd in crowds]))
        print(f"  the last is told to stop after {told - at:6.1f} s")
    finally:
        for crowd in crowds:
            ray.kill(crowd)
        client.end()


def show(name: str, values: list[float]) -> None:
    """Print percentiles of some seconds."""
    if not values:
        print(f"  {name:28s} none")
        return
    half, most, nearly = np.percentile(values, [50, 90, 99]) * 1e3
    print(
        f"  {name:28s} {half:8.1f} ms median {most:8.1f} ms 90 % {nearly:8.1f} ms 99 % "
        f"{max(values) * 1e3:8.1f} ms at most ({len(values)})"
    )


@contextmanager
def looking(client: DispatcherClient) -> Iterator[list[float]]:
    """Look at the pool as a study does, and yield how long each look takes."""
    seconds: list[float] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK_SECONDS):
            began = time.perf_counter()
            client.snapshot()
            seconds.append(time.perf_counter() - began)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seconds
    finally:
        done.set()
        thread.join()


@contextmanager
def cpu_shares() -> Iterator[dict[str, float]]:
    """Yield a mapping that has the share of a core of each kind of process after the block."""
    shares: dict[str, float] = {}
    before, began = cpu_seconds(), time.monotonic()
    yield shares
    passed = time.monotonic() - began
    for kind, used in cpu_seconds().items():
        shares[kind] = (used - before.get(kind, 0.0)) / passed


def cpu_seconds() -> dict[str, float]:
    """Return the CPU time so far of each kind of process of this benchmark."""
    used: dict[str, float] = {}
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            title, times = process.cmdline()[0], process.cpu_times()
        except (psutil.Error, IndexError):
            continue
        kind = "Ray's own processes"
        if process.pid == psutil.Process().pid:
            kind = "driver"
        elif title.startswith("ray::Dispatcher"):
            kind = "dispatcher"
        elif title.startswith("ray::Crowd"):
            kind = "processes that pretend"
        used[kind] = used.get(kind, 0.0) + times.user + times.system
    return used


@dataclass
class Caller:
    """Calls a dispatcher from a coroutine: hundreds of groups share a process here."""

    client: DispatcherClient

    async def __call__(self, method: Callable[..., Any], *args: Any) -> Any:
        """Return a method's answer."""
        return await self.client._send(method, *args)


@dataclass
class Times:
    """Seconds that exchanges took, by what they waited for."""

    job: list[float] = field(default_factory=list)
    new_trial: list[float] = field(default_factory=list)


class Crowd:
    """Many groups and the trials that go with them, in one process."""

    def __init__(self, client: DispatcherClient, groups: range, fold_seconds: float) -> None:
        self._call, self._groups, self._fold_seconds = Caller(client), groups, fold_seconds
        self._random = random.Random(groups.start)
        self._times = Times()
        self._training = 0
        self._last_told = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._listening: dict[int, asyncio.Task[bool]] = {}

    async def start(self) -> None:
        """Let all groups and trials begin."""
        coroutines = [self._serve(group) for group in self._groups]
        for number in range(round(len(self._groups) * (1 + SPARE))):
            coroutines.append(self._run_trials(number))
        self._tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]

    async def forget(self) -> None:
        """Begin to measure."""
        self._times = Times()

    async def times(self) -> dict[str, list[float]]:
        """Return the seconds of the exchanges since then."""
        return {"job": self._times.job, "new trial": self._times.new_trial}

    async def last_told(self) -> float:
        """Wait until no group trains, and return when the last was told to stop, Unix seconds."""
        while self._training:
            await asyncio.sleep(0.05)
        return self._last_told

    async def _serve(self, group: int) -> None:
        token = await self._call(Dispatcher.announce, group, "node", group)
        outcome, trial = None, ""
        is_first = True
        while True:
            began = time.perf_counter()
            reply = await self._call(Dispatcher.exchange, group, token, outcome)
            if reply.stop:
                return
            outcome = None
            if reply.job is None:
                continue
            if trial:
                same = reply.job.trial == trial
                times = self._times.job if same else self._times.new_trial
                times.append(time.perf_counter() - began)
            trial = reply.job.trial
            least = 0.0 if is_first else 0.5  # so that they are not in step
            is_first = False
            seconds = self._random.uniform(least, 1.5 if least else 1.0) * self._fold_seconds
            told = await self._train(group, token, seconds)
            outcome = FoldOutcome(
                job=reply.job, epoch=30, result=None if told else result(reply.job.fold)
            )

    async def _train(self, group: int, token: str, seconds: float) -> bool:
        """Sleep, and return whether that was ended early."""
        ends = time.monotonic() + seconds
        self._training += 1
        try:
            told = False
            while (left := ends - time.monotonic()) > 0 and not told:
                listening = self._listening.get(group)
                if listening is None:
                    call = self._call(Dispatcher.listen, group, token, 1)
                    listening = self._listening[group] = asyncio.create_task(call)
                await asyncio.wait([listening], timeout=left)
                if listening.done():  # else it goes on in the next job, as in a real group
                    told = self._listening.pop(group).result()
            if told:
                self._last_told = time.time()
            return told
        finally:
            self._training -= 1

    async def _run_trials(self, number: int) -> None:
        for count in range(1_000_000):
            trial = f"digits/{self._groups.start}-{number}-{count}"
            if not await self._call(Dispatcher.acquire, trial, 1):
                return
            first = self._random.randrange(FOLDS_PER_TRIAL) if count == 0 else 0  # not in step
            folds = range(first, FOLDS_PER_TRIAL)
            await self._call(Dispatcher.submit, trial, jobs(trial, *folds[:2]))
            for fold in folds:
                if not await self._call(Dispatcher.wait, trial):
                    return
                if fold + 2 < FOLDS_PER_TRIAL:
                    await self._call(Dispatcher.submit, trial, jobs(trial, fold + 2))
            await self._call(Dispatcher.release, trial)


def jobs(trial: str, *folds: int) -> list[FoldJob]:
    """Return jobs of the size that a study's have."""
    config = {f"model.parameter_{number}": 0.1 * number for number in range(12)}
    return [
        FoldJob(study="digits", trial=trial, config=config, fold=fold, until_epoch=30)
        for fold in folds
    ]


def result(fold: int) -> FoldResult:
    """Return a fold's result of the size that a study's have."""
    names = ("train_loss", "val_loss", "val_accuracy", "learning_rate", "seconds", "finished_at")
    return FoldResult(
        fold=fold,
        score=0.1,
        history=tuple(dict.fromkeys(names, 0.1 * epoch) for epoch in range(30)),
        started_at=1.0,
        finished_at=2.0,
        busy_seconds=1.0,
        weights=f"trials/0007/fold_{fold}/weights.safetensors",
        predictions=f"trials/0007/fold_{fold}/predictions.safetensors",
    )


if __name__ == "__main__":
    main()

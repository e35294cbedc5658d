"""All groups of a study, or of several: started as the cluster has room, ended with them."""

import logging
import math
import os
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import UserCallback
from ray.train.torch import TorchConfig, TorchTrainer

from rayfold.data import DataSet
from rayfold.errors import DispatcherLostError, ResourcesError
from rayfold.groups.client import DispatcherClient
from rayfold.groups.group import GroupWork, serve
from rayfold.groups.plan import Groups
from rayfold.groups.snapshot import Arrival, Snapshot
from rayfold.training import StudySetup

logger = logging.getLogger(__name__)

GROW_SECONDS = 5.0
"""How often the cluster is asked whether it has room for another group."""

PATIENCE_SECONDS = 90.0
"""How long no group may be ready before the log tells what is asked for and what is free."""

STOP_SECONDS = 60.0
"""How long groups may take to end by themselves before they are left to Ray's clean-up."""


class Pool:
    """The groups of one study, or of several on the same data.

    Args:
        groups: How many, and how large.
        setups: What all folds of a study share, by the study's name.
        data: Reference to the staged data set.
        name: Name for Ray's logs and dashboard.
        folder: Where Ray Train may write while the pool is there.

    Attributes:
        dispatcher: Client of the dispatcher, for the trials.
    """

    def __init__(
        self,
        groups: Groups,
        *,
        setups: Mapping[str, StudySetup],
        data: "ray.ObjectRef[DataSet]",
        name: str,
        folder: Path,
    ) -> None:
        self._groups, self._setups, self._data, self._name = groups, setups, data, name
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._folder = folder
        self.dispatcher = DispatcherClient.start(groups.minimum)

    def start(self) -> None:
        """Ask for as many groups as the cluster has room for, at least ``groups.minimum``.

        Returns at once; trials wait for groups by themselves. A cluster that has no room yet
        may grow, or queue; further groups are started while it has room.
        """
        room = max(self._groups.minimum, min(self._groups.maximum, self._room()))
        for _ in range(room):
            self._start_group()
        threading.Thread(target=self._grow, name="pool-growth", daemon=True).start()

    def snapshot(self) -> Snapshot:
        """Return the pool as it is.

        Raises:
            ResourcesError: If a group cannot start, and none ever has.
        """
        state = self.dispatcher.snapshot()
        if state.broken and not state.num_groups:
            raise ResourcesError(state.broken)
        return state

    def arrivals(self) -> tuple[Arrival, ...]:
        """Return when each group was ready for the first time, and where it is."""
        return self.dispatcher.arrivals()

    def interrupt(self) -> None:
        """Let groups finish their epoch and write a checkpoint, and trials end."""
        self.dispatcher.interrupt()

    def release(self, study: str, trial: str) -> None:
        """Give a trial's groups back, without waiting for it."""
        self.dispatcher.release_soon(study, trial)

    def stop(self) -> None:
        """End all groups and the dispatcher, and remove what Ray Train has written."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        try:
            self.dispatcher.stop()
        except (DispatcherLostError, ray.exceptions.RayError) as error:
            logger.warning("Groups could not be told to stop: %s", error)
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                logger.warning("%s does not end; it is left to Ray.", thread.name)
        self.dispatcher.end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _room(self) -> int:
        """Return how many more groups the cluster has room for at this moment."""
        need = self._groups.worker_resources
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        per_node = sum(_times(need, resources) for resources in nodes)
        return min(per_node, _times(need, ray.available_resources())) // self._groups.workers

    def _grow(self) -> None:
        """Start further groups while the cluster has room, one at a time."""
        tell_at = time.monotonic() + PATIENCE_SECONDS
        while not self._stopping.wait(GROW_SECONDS):
            try:
                ready = self.snapshot().num_groups
                if not ready and time.monotonic() > tell_at:
                    tell_at = math.inf
                    self._tell_need()
                if len(self._threads) >= self._groups.maximum or ready < len(self._threads):
                    continue
                if self._room() >= 1:
                    logger.info("The cluster has room: starting group %d.", len(self._threads))
                    self._start_group()
            except (ray.exceptions.RayError, ResourcesError):  # the study sees it, too
                return

    def _tell_need(self) -> None:
        free = ray.available_resources()
        need = ", ".join(
            f"{self._groups.workers * amount:g} {name} ({free.get(name, 0.0):g} free)"
            for name, amount in self._groups.worker_resources.items()
        )
        logger.warning(
            "No group is ready after %.0f s; one needs %s. The study waits.",
            PATIENCE_SECONDS,
            need,
        )

    def _start_group(self) -> None:
        number = len(self._threads)
        thread = threading.Thread(
            target=self._run_group, args=(number,), name=f"group-{number}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _run_group(self, number: int) -> None:
        """Keep one group alive until the pool stops."""
        work = GroupWork(
            group=number, dispatcher=self.dispatcher, setups=self._setups, data=self._data
        )
        gpus = self._groups.gpus_per_worker
        trainer = TorchTrainer(
            serve,
            train_loop_config={"work": work},
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
            scaling_config=ray.train.ScalingConfig(
                num_workers=self._groups.workers,
                use_gpu=bool(gpus),
                resources_per_worker=self._groups.worker_resources,
            ),
            run_config=ray.train.RunConfig(
                name=f"{self._name}-group-{number}-{os.getpid()}",
                storage_path=str(self._folder),
                failure_config=ray.train.FailureConfig(max_failures=-1),
                callbacks=[_FailureReport(number, self.dispatcher)],
            ),
        )
        try:
            trainer.fit()
        except Exception as error:  # noqa: BLE001 - Ray Train raises many kinds
            if not self._stopping.is_set():
                text = str(error).strip().splitlines()[0]
                logger.error("Group %d has ended: %s", number, text)
                self.dispatcher.group_ended(number, text)


def _times(need: Mapping[str, float], resources: Mapping[str, float]) -> int:
    """Return how often ``need`` fits into ``resources``."""
    return min(int(resources.get(name, 0.0) // amount) for name, amount in need.items())


class _FailureReport(UserCallback):
    """Tells the dispatcher and the log that a group has lost workers; runs in its controller."""

    def __init__(self, group: int, dispatcher: DispatcherClient) -> None:
        self._group, self._dispatcher = group, dispatcher

    def after_exception(
        self, run_context: Any, worker_exceptions: Mapping[int, Exception]
    ) -> None:
        """Pass on the first failed rank's error."""
        rank, error = min(worker_exceptions.items(), key=lambda item: item[0])
        text = f"rank {rank}: {str(error).strip().splitlines()[-1]}"
        logger.warning("Group %d has lost workers and starts anew (%s).", self._group, text)
        self._dispatcher.start_failed(self._group, text)

"""Groups of Ray Train: each worker is an actor that calls ``TorchTrainer.fit()`` itself.

``ScalingConfig(num_workers=0)`` is Ray Train's local mode: the training function runs in the
process that calls ``fit()``, and joins the other workers as under ``torchrun``. In the other mode
each run also has a controller, a data-set manager, a cleaner and a synchroniser. These need more
memory than the worker. The first two are always on the node that calls ``fit()``. A run whose
controller dies is over. Here a group consists of its workers and nothing else.
"""

import dataclasses
import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError
from ray.train.torch import TorchTrainer
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rayfold.groups.group import GroupWork, serve
from rayfold.groups.launchers.base import Ending, Launcher
from rayfold.groups.placement import room_for_groups
from rayfold.groups.plan import Groups
from rayfold.last_words import (
    NODE_DIED,
    TRACEBACK,
    cause_of_death,
    keep_last_words,
)


class RayTrainLauncher(Launcher):
    """Starts each group as actors in a placement group, on nodes with room.

    Only workers of a group are on its nodes; the driver's node needs nothing for it. The driver
    owns everything, so nothing is left when the driver dies. A restarted group gets a new
    placement group.

    Args:
        groups: Their size.
        work: Returns what a group gets when it starts, from its number.
        folder: Where workers write why they end; all nodes see it.
        told: Returns a text in which the user's own files replace their copies.
    """

    def __init__(
        self,
        groups: Groups,
        work: Callable[[int], GroupWork],
        *,
        folder: Path,
        told: Callable[[str], str],
    ) -> None:
        self._groups, self._work, self._folder, self._told = groups, work, folder, told
        self._running: dict[int, _Running] = {}
        self._killed: list[int] = []

    def room(self) -> int:
        """Return how many more groups the nodes have room for."""
        return room_for_groups(self._groups)

    def start(self, group: int) -> None:
        """Request resources for a group, and start its workers when Ray has reserved them."""
        need, size = self._groups.worker_resources, self._groups.workers
        place = placement_group([need] * size, strategy="PACK")
        words = [self._folder / f"group-{group}-{rank}.txt" for rank in range(size)]
        workers = []
        for rank, path in enumerate(words):
            path.unlink(missing_ok=True)
            actor = GroupWorker.options(  # type: ignore[attr-defined]
                num_cpus=need["CPU"],
                num_gpus=need.get("GPU", 0),
                scheduling_strategy=PlacementGroupSchedulingStrategy(place, rank),
            )
            workers.append(actor.remote(path))
        address = workers[0].address.remote() if size > 1 else None
        work, has_gpu = ray.put(self._work(group)), "GPU" in need
        ends = [
            worker.run.remote(work, rank, size, address, has_gpu)
            for rank, worker in enumerate(workers)
        ]
        self._running[group] = _Running(place, workers, ends, words)

    def kill(self, group: int) -> None:
        """End the workers' processes, even if they do not answer."""
        if running := self._running.pop(group, None):
            running.kill()
            self._killed.append(group)

    def endings(self, timeout: float) -> Sequence[Ending]:
        """Return the groups that have lost a worker, or whose workers have all returned."""
        open_ends = {
            end: group for group, running in self._running.items() for end in running.open_ends
        }
        patience = 0.0 if self._killed else timeout
        if not open_ends:
            time.sleep(patience)
        elif ray.wait(list(open_ends), timeout=patience)[0]:  # any of them, then all of those
            over, _ = ray.wait(list(open_ends), num_returns=len(open_ends), timeout=0)
            for end in over:
                self._running[open_ends[end]].note(end)
        endings = [Ending(group=group) for group in self._killed]
        self._killed = []
        for group, running in list(self._running.items()):
            if running.errors or not running.open_ends:
                ending = running.ending(group)
                cause, details = self._told(ending.cause), self._told(ending.details)
                endings.append(dataclasses.replace(ending, cause=cause, details=details))
                running.kill()
                del self._running[group]
        return endings

    def shortage(self) -> str:
        """Say what one group reserves, and how much of it is free."""
        free = ray.available_resources()
        return ", ".join(
            f"{self._groups.workers * amount:g} {name} ({free.get(name, 0.0):g} free)"
            for name, amount in self._groups.worker_resources.items()
        )

    def stop(self) -> None:
        """End all workers, and release their resources."""
        for running in self._running.values():
            running.kill()
        self._running = {}


class _Running:
    """A group: its placement group; by rank its actors, the ends of their runs, last words."""

    def __init__(
        self, place: PlacementGroup, workers: list[Any], ends: list[Any], words: list[Path]
    ) -> None:
        self._place, self._workers, self._ends, self._words = place, workers, ends, words
        self.open_ends = set(ends)
        self.errors: dict[int, RayError] = {}

    def note(self, end: Any) -> None:
        """Note that a worker's run is over."""
        self.open_ends.remove(end)
        try:
            ray.get(end)
        except RayError as error:
            self.errors[self._ends.index(end)] = error

    def kill(self) -> None:
        for worker in self._workers:
            ray.kill(worker)
        remove_placement_group(self._place)

    def ending(self, group: int) -> Ending:
        """Say why the group has ended.

        A worker's death comes before the errors that it causes in others. Ray may report it later,
        so this waits for it.
        """
        if self.errors and self.open_ends and not any(map(_is_death, self.errors.values())):
            over, _ = ray.wait([*self.open_ends], num_returns=len(self.open_ends), timeout=2.0)
            for end in over:
                self.note(end)
        if not self.errors:
            return Ending(group=group)
        rank = min(self.errors, key=lambda rank: (not _is_death(self.errors[rank]), rank))
        cause, details = _cause(self.errors[rank], self._words[rank])
        cause = f"rank {rank}: {cause}" if len(self._ends) > 1 else cause
        node_lost = NODE_DIED in str(self.errors[rank])
        return Ending(group=group, cause=cause, details=details, node_lost=node_lost)


@ray.remote(max_restarts=0)
class GroupWorker:
    """One worker of a group: the process that trains."""

    def __init__(self, last_words: Path) -> None:
        keep_last_words(last_words)

    def address(self) -> tuple[str, int]:
        """Return this worker's address for the others: its node's address and a free port."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            port: int = probe.getsockname()[1]
        return ray.util.get_node_ip_address(), port

    def run(
        self,
        work: GroupWork,
        rank: int,
        world_size: int,
        address: tuple[str, int] | None,
        has_gpu: bool,
    ) -> None:
        """Serve until told to stop.

        Each worker sees only its own GPUs, or none, so in its group it counts as a node with one
        process.
        """
        if not has_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        if address is None:  # of a single worker: it must not join what others have set up
            os.environ.pop("RANK", None)
        else:
            os.environ |= {
                "MASTER_ADDR": address[0],
                "MASTER_PORT": str(address[1]),
                "RANK": str(rank),
                "WORLD_SIZE": str(world_size),
                "LOCAL_RANK": "0",
                "LOCAL_WORLD_SIZE": "1",
            }
        TorchTrainer(
            serve,
            train_loop_config={"work": work},
            scaling_config=ray.train.ScalingConfig(num_workers=0),
        ).fit()


def _is_death(error: RayError) -> bool:
    return isinstance(error, RayActorError | OutOfMemoryError)


def _cause(error: RayError, last_words: Path) -> tuple[str, str]:
    """Return why a worker's run has ended too early, in one line, and where, if known."""
    if isinstance(error, OutOfMemoryError):
        return cause_of_death(last_words, str(error), out_of_memory=True)
    text = str(error).strip()
    if isinstance(error, RayActorError) and not error.actor_init_failed:
        return cause_of_death(last_words, text)
    raised = error.cause if isinstance(error, RayTaskError) else None
    cause = f"{type(raised).__name__}: {raised}".splitlines()[0] if raised else ""
    _, *lines = text.splitlines()  # the first names the process, in colour
    frames = [line for line in lines if line.startswith(" ")]
    return cause or text.splitlines()[-1], "\n".join([TRACEBACK, *frames])

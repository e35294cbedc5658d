"""Groups of Ray Train: each worker is an actor that calls ``TorchTrainer.fit()`` in itself.

``ScalingConfig(num_workers=0)`` is Ray Train's local mode: the training function runs in the
process that calls ``fit()``, which joins the other workers as under ``torchrun``. In Ray Train's
other mode each run has a controller, a data-set manager, a cleaner and a synchroniser besides.
These cost more memory than the worker, the first two always on the node that calls ``fit()``, and
a run whose controller dies is over. Here a group is its workers and nothing else.
"""

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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
from rayfold.groups.launchers.last_words import cause_of_death, keep_last_words
from rayfold.groups.placement import room_for_groups
from rayfold.groups.plan import Groups


class RayTrainLauncher(Launcher):
    """Starts groups as actors in a placement group each, on whichever nodes have room.

    Nothing of a group is on the driver's node unless its workers are. The driver owns all of it,
    so that nothing is left when the driver dies.

    Args:
        groups: How large they are.
        work: Returns what a group is told, from its number.
        folder: Where workers write why they end; all nodes see it.
    """

    def __init__(self, groups: Groups, work: Callable[[int], GroupWork], *, folder: Path) -> None:
        self._groups, self._work, self._folder = groups, work, folder
        self._places: dict[int, PlacementGroup] = {}
        self._running: dict[int, _Running] = {}
        self._endings: list[Ending] = []

    def room(self) -> int:
        """Return how many more groups the nodes have room for."""
        return room_for_groups(self._groups)

    def start(self, group: int) -> None:
        """Reserve room for a group, unless it has some, and start its workers there."""
        need, size = self._groups.worker_resources, self._groups.workers
        if group not in self._places:
            self._places[group] = placement_group([need] * size, strategy="PACK")
        running = _Running()
        for rank in range(size):
            running.words.append(self._folder / f"group-{group}-{rank}.txt")
            running.workers.append(
                GroupWorker.options(  # type: ignore[attr-defined]
                    num_cpus=need["CPU"],
                    num_gpus=need.get("GPU", 0),
                    scheduling_strategy=PlacementGroupSchedulingStrategy(
                        self._places[group], placement_group_bundle_index=rank
                    ),
                ).remote(running.words[rank])
            )
        address = running.workers[0].address.remote() if size > 1 else None
        work = ray.put(self._work(group))
        running.ends = [
            worker.run.remote(work, rank, size, address, bool(self._groups.gpus_per_worker))
            for rank, worker in enumerate(running.workers)
        ]
        self._running[group] = running

    def kill(self, group: int) -> None:
        """End the workers' processes, which does not need them to answer."""
        if running := self._running.pop(group, None):
            running.kill()
            self._endings.append(Ending(group=group))

    def endings(self, timeout: float) -> Sequence[Ending]:
        """Return the groups that have lost a worker, or whose workers have all returned."""
        ends = [end for running in self._running.values() for end in running.ends]
        if ends and not self._endings:
            ray.wait(ends, timeout=timeout)
        for group, running in list(self._running.items()):
            over, _ = ray.wait(running.ends, num_returns=len(running.ends), timeout=0)
            errors = [error for end in over if (error := _error(end)) is not None]
            if not errors and len(over) < len(running.ends):
                continue
            running.kill()
            del self._running[group]
            cause, details = running.cause(over) if errors else ("", "")
            self._endings.append(Ending(group=group, cause=cause, details=details))
        endings, self._endings = self._endings, []
        return endings

    def shortage(self) -> str:
        """Say what one group reserves, and how much of it is free."""
        free = ray.available_resources()
        return ", ".join(
            f"{self._groups.workers * amount:g} {name} ({free.get(name, 0.0):g} free)"
            for name, amount in self._groups.worker_resources.items()
        )

    def stop(self) -> None:
        """End all workers, and give their places back."""
        for running in self._running.values():
            running.kill()
        for place in self._places.values():
            remove_placement_group(place)
        self._running, self._places = {}, {}


@dataclass
class _Running:
    """The workers of one group, by rank: their actors, the ends of their runs, their words."""

    workers: list[Any] = field(default_factory=list)
    ends: list[Any] = field(default_factory=list)
    words: list[Path] = field(default_factory=list)

    def kill(self) -> None:
        for worker in self.workers:
            ray.kill(worker)

    def cause(self, over: Sequence[Any]) -> tuple[str, str]:
        """Say why the group has ended: a death comes before the errors that it causes."""
        told = []
        for rank, end in enumerate(self.ends):
            if end not in over or (error := _error(end)) is None:
                continue
            out_of_memory = isinstance(error, OutOfMemoryError)
            died = out_of_memory or isinstance(error, RayActorError)
            cause, details = (
                cause_of_death(self.words[rank], str(error), out_of_memory=out_of_memory)
                if died
                else _text(error)
            )
            told.append((not died, rank, cause, details))
        _, rank, cause, details = min(told)
        return (f"rank {rank}: {cause}" if len(self.ends) > 1 else cause), details


@ray.remote(max_restarts=0)
class GroupWorker:
    """One worker of a group: the process that trains."""

    def __init__(self, last_words: Path) -> None:
        keep_last_words(last_words)

    def address(self) -> tuple[str, int]:
        """Return where the other workers find this one: its node's address and a free port."""
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

        Each worker sees its own GPUs alone, or none, so that among its group it stands for a
        node with one process.
        """
        if not has_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        if address is not None:
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


def _error(end: Any) -> RayError | None:
    """Return why a run has ended before its time; None if it has returned."""
    try:
        ray.get(end)
    except RayError as error:
        return error
    return None


def _text(error: RayError) -> tuple[str, str]:
    """Return the last line of an error that a worker has raised, and its traceback."""
    text = str(error).strip()
    cause = error.cause if isinstance(error, RayTaskError) else error
    return f"{type(cause).__name__}: {cause}".splitlines()[0], text

"""Typed calls of the dispatcher, for trials, groups and the driver.

It imports neither PyTorch nor Ray Train, so every process may use it.
"""

import zlib
from collections.abc import Callable, Coroutine, Iterable, Sequence
from itertools import chain
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rayfold.errors import DispatcherLostError
from rayfold.groups.dispatcher import Dispatcher
from rayfold.groups.snapshot import Arrival, Snapshot
from rayfold.jobs import FoldJob, FoldOutcome, Reply, lease_name

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Key = TypeVar("Key", int, str)
"""A group's number, or a trial's name."""

GROUPS_PER_DISPATCHER = 4_000
"""Number of groups that one dispatcher serves well, see ``platform/docs/measurements.md``."""

DEATHS = (
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
)
"""Errors of a call to an actor whose process is gone; Ray has no common class for them."""

MAX_CALLS = 1_000_000
"""Number of calls that may wait in the dispatcher: two of each group and one of each trial.

Further calls do not begin. If all others wait for them, the pool is deadlocked.
"""


class DispatcherClient:
    """The dispatcher for other processes; it can be pickled and sent to them.

    Each method waits for the dispatcher's answer, unless it says otherwise. The method of
    ``Dispatcher`` with the same name says what the answer means. Trials are named by study and id.

    A large pool has several dispatchers, each with a part of the groups: group ``n`` belongs to
    dispatcher ``n`` modulo their number. A trial takes its groups from one dispatcher. The trial's
    name decides which, so every process can find it.

    Every method that waits raises ``DispatcherLostError`` if a dispatcher's process is gone.

    Args:
        actors: Handles of the dispatchers' actors.
    """

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = tuple(actors)

    @classmethod
    def start(cls, num_groups: int) -> Self:
        """Start a dispatcher on this node, or several.

        Args:
            num_groups: Smallest number of groups. One dispatcher is started for each
                ``GROUPS_PER_DISPATCHER`` of them, so that each has groups.
        """
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(
            num_cpus=0,
            max_concurrency=MAX_CALLS,
            enable_task_events=False,  # Ray would report each call to the head node
            scheduling_strategy=here,
        )(Dispatcher)
        number = max(1, num_groups // GROUPS_PER_DISPATCHER)
        return cls([actor.remote() for _ in range(number)])

    def end(self) -> None:
        """End the dispatchers' processes at once."""
        for actor in self._actors:
            ray.kill(actor)

    # -- for trials

    def acquire(self, study: str, trial: str, num_groups: int) -> int:
        """Wait for groups, and return how many the trial now holds."""
        return self._call(Dispatcher.acquire, lease_name(study, trial), num_groups)

    def submit(self, study: str, trial: str, jobs: Iterable[FoldJob]) -> None:
        """Queue jobs for the trial's groups."""
        self._call(Dispatcher.submit, lease_name(study, trial), list(jobs))

    def wait(self, study: str, trial: str, timeout: float | None = None) -> list[FoldOutcome]:
        """Wait for outcomes of the trial's jobs, for at most ``timeout`` seconds."""
        return self._call(Dispatcher.wait, lease_name(study, trial), timeout)

    def release(self, study: str, trial: str) -> None:
        """Give the trial's groups back."""
        self._call(Dispatcher.release, lease_name(study, trial))

    def release_soon(self, study: str, trial: str) -> None:
        """Give the trial's groups back, without waiting for the answer."""
        self._send(Dispatcher.release, lease_name(study, trial))

    # -- for groups

    def announce(self, group: int, node: str, process_id: int) -> str:
        """Enter a group that is ready, and return its token."""
        return self._call(Dispatcher.announce, group, node, process_id)

    def exchange(self, group: int, token: str, outcome: FoldOutcome | None) -> Reply:
        """Deliver the outcome of the last job, and wait for the next job."""
        return self._call(Dispatcher.exchange, group, token, outcome)

    def listen(self, group: int, token: str, epoch: int) -> bool:
        """Report a group's progress, and wait for a reason to end its job."""
        return self._call(Dispatcher.listen, group, token, epoch)

    def rank_failed(
        self,
        group: int,
        token: str,
        rank: int,
        world_size: int,
        error: str,
        fault: str | None = None,
    ) -> bool:
        """Report that a rank has failed, and return whether all ranks of its group have."""
        return self._call(Dispatcher.rank_failed, group, token, rank, world_size, error, fault)

    # -- for the driver and what watches over groups

    def group_died(
        self, group: int, cause: str, details: str = "", *, node_lost: bool = False
    ) -> bool:
        """Report that a group's processes are gone, and return whether to restart it."""
        return self._call(Dispatcher.group_died, group, cause, details, node_lost=node_lost)

    def snapshot(self) -> Snapshot:
        """Return the present state of the pool."""
        return Snapshot.merged(self._call_all(Dispatcher.snapshot))

    def arrivals(self) -> tuple[Arrival, ...]:
        """Return when each group was ready for the first time, and where it is."""
        return tuple(chain.from_iterable(self._call_all(Dispatcher.arrivals)))

    def interrupt(self) -> None:
        """End all waiting calls; groups write a checkpoint after their epoch and become idle."""
        self._call_all(Dispatcher.interrupt)

    def stop(self) -> None:
        """Tell every group to end."""
        self._call_all(Dispatcher.stop)

    # -- private

    def _call(
        self,
        method: Callable[Concatenate[Dispatcher, Key, Parameters], Coroutine[Any, Any, Result]],
        key: Key,
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Call a method on the dispatcher of the group or trial in the first argument."""
        answer: Result = self._answer(self._send(method, key, *args, **kwargs))
        return answer

    def _call_all(
        self, method: Callable[[Dispatcher], Coroutine[Any, Any, Result]]
    ) -> list[Result]:
        """Call a method on all dispatchers at the same time, and return their answers."""
        sent = [self._send_to(actor, method.__name__) for actor in self._actors]
        return [self._answer(reference) for reference in sent]

    def _send(
        self,
        method: Callable[Concatenate[Dispatcher, Key, Parameters], Coroutine[Any, Any, Result]],
        key: Key,
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Any:
        number = key if isinstance(key, int) else zlib.crc32(key.encode())
        actor = self._actors[number % len(self._actors)]
        return self._send_to(actor, method.__name__, key, *args, **kwargs)

    def _send_to(self, actor: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(actor, method).remote(*args, **kwargs)

    def _answer(self, reference: Any) -> Any:
        try:
            return ray.get(reference)
        except DEATHS as error:
            raise DispatcherLostError(
                "the process that gives out the jobs of this run (its dispatcher) has died; "
                "run the same command again to resume."
            ) from error

"""Typed calls of the dispatcher: by trials, by groups and by the driver.

Every process may use it: it imports neither PyTorch nor Ray Train.
"""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rayfold.errors import DispatcherLostError
from rayfold.groups.dispatcher import Dispatcher, Snapshot
from rayfold.orders import FoldOutcome, FoldTask, Order, lease_name

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

MAX_CALLS = 10_000
"""How many calls may wait in the dispatcher at a time."""


class DispatcherClient:
    """The dispatcher as other processes see it; may be pickled and sent to them.

    Each method waits for the dispatcher's answer, unless it says otherwise; what the answer means
    is told by the method of ``Dispatcher`` with the same name. Trials are named by study and id.

    Every method that waits raises ``DispatcherLostError`` if the dispatcher's process is gone.

    Args:
        actor: Handle of the dispatcher's actor.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    @classmethod
    def start(cls) -> Self:
        """Start a dispatcher on this node."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0, max_concurrency=MAX_CALLS)(Dispatcher)
        return cls(actor.options(scheduling_strategy=here).remote())

    def end(self) -> None:
        """End the dispatcher's process, whatever it does."""
        ray.kill(self._actor)

    # -- for trials

    def acquire(self, study: str, trial: str, num_groups: int) -> int:
        """Wait for groups, and return how many the trial holds now."""
        return self._call(Dispatcher.acquire, lease_name(study, trial), num_groups)

    def submit(self, study: str, trial: str, tasks: Iterable[FoldTask]) -> None:
        """Queue orders for the trial's groups."""
        self._call(Dispatcher.submit, lease_name(study, trial), list(tasks))

    def wait(self, study: str, trial: str, timeout: float | None = None) -> list[FoldOutcome]:
        """Wait for outcomes of the trial's orders, for at most ``timeout`` seconds."""
        return self._call(Dispatcher.wait, lease_name(study, trial), timeout)

    def release(self, study: str, trial: str) -> None:
        """Give the trial's groups back."""
        self._call(Dispatcher.release, lease_name(study, trial))

    def release_soon(self, study: str, trial: str) -> None:
        """Give the trial's groups back, without waiting for it."""
        self._send(Dispatcher.release, lease_name(study, trial))

    # -- for groups

    def announce(self, group: int, node: str, process_id: int) -> str:
        """Enter a group that is ready, and return its token."""
        return self._call(Dispatcher.announce, group, node, process_id)

    def exchange(self, group: int, token: str, outcome: FoldOutcome | None) -> Order:
        """Hand in the outcome of the last order, and wait for the next."""
        return self._call(Dispatcher.exchange, group, token, outcome)

    def heartbeat(self, group: int, token: str, epoch: int) -> bool:
        """Tell how far a group is, and return whether it should end its order."""
        return self._call(Dispatcher.heartbeat, group, token, epoch)

    def rank_failed(
        self,
        group: int,
        token: str,
        rank: int,
        world_size: int,
        error: str,
        fault: str | None = None,
    ) -> bool:
        """Tell that a rank has failed, and return whether all ranks of its group have."""
        return self._call(Dispatcher.rank_failed, group, token, rank, world_size, error, fault)

    # -- for the driver and what watches over groups

    def group_died(
        self, group: int, cause: str, details: str = "", *, node_lost: bool = False
    ) -> bool:
        """Tell that a group's processes are gone, and return whether to start it again."""
        return self._call(Dispatcher.group_died, group, cause, details, node_lost=node_lost)

    def snapshot(self) -> Snapshot:
        """Return the pool as it is."""
        return self._call(Dispatcher.snapshot)

    def interrupt(self) -> None:
        """End all waiting; groups write a checkpoint after their epoch and go idle."""
        self._call(Dispatcher.interrupt)

    def stop(self) -> None:
        """Send every group home."""
        self._call(Dispatcher.stop)

    # -- private

    def _call(
        self,
        method: Callable[Concatenate[Dispatcher, Parameters], Coroutine[Any, Any, Result]],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        try:
            answer: Result = ray.get(self._send(method, *args, **kwargs))
        except ray.exceptions.RayActorError as error:
            raise DispatcherLostError(
                "the process that gives out the orders of this run (its dispatcher) has died; "
                "run the same command again to go on."
            ) from error
        return answer

    def _send(
        self,
        method: Callable[Concatenate[Dispatcher, Parameters], Coroutine[Any, Any, Result]],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Any:
        return getattr(self._actor, method.__name__).remote(*args, **kwargs)

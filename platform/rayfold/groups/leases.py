"""A dispatcher's records of groups, trials and orders."""

import asyncio
import heapq
import math
import time
from collections import deque
from dataclasses import dataclass, field

from rayfold.groups.snapshot import GroupState
from rayfold.orders import FoldOutcome, FoldTask


@dataclass(eq=False)
class Job:
    """An order, and why its last worker died."""

    task: FoldTask
    error: str = ""
    fault: str | None = None


class Deaths:
    """Why groups have died at each fold, over all leases of its trial.

    The actor of a trial may die with its group, come back and give the same order again.
    """

    def __init__(self) -> None:
        self._errors: dict[tuple[str, str, int], list[str]] = {}

    def note(self, job: Job) -> None:
        """Note that a group has died at an order."""
        self._errors.setdefault(job.task.key, []).append(job.error)

    def forget(self, job: Job) -> None:
        """Forget the deaths at an order that has had an outcome."""
        self._errors.pop(job.task.key, None)

    def verdict(self, job: Job, limit: int) -> str | None:
        """Return the error of an order after ``limit`` deaths; None before that."""
        errors = self._errors.get(job.task.key, [])
        if len(errors) < limit:
            return None
        self.forget(job)
        cause = errors[-1].rstrip(" .\n") or "it started anew"
        return f"{cause}; {len(errors)} attempts at fold {job.task.fold} ended like this."


@dataclass(eq=False)
class Failures:
    """The ranks of a group that have failed on its present order."""

    ranks: set[int] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class Group:
    """A group and its present order."""

    number: int
    node: str
    process_id: int
    token: str
    ready_at: float
    last_seen: float
    num_starts: int = 1
    lease: "Lease | None" = None
    job: Job | None = None
    epoch: int = 0
    stop_asked_at: float | None = None
    num_outcomes: int = 0
    lost: bool = False
    dead: bool = False
    failures: Failures = field(default_factory=Failures)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the present order should end after its epoch."""

    def state(self) -> GroupState:
        """Return its state for others."""
        task = self.job.task if self.job else None
        return GroupState(
            group=self.number,
            node=self.node,
            ready_at=self.ready_at,
            process_id=self.process_id,
            study=task.study if task else None,
            trial=task.trial if task else None,
            fold=task.fold if task else None,
            epoch=self.epoch,
            num_starts=self.num_starts,
            stopping_seconds=(
                0.0 if self.stop_asked_at is None else time.monotonic() - self.stop_asked_at
            ),
        )

    def ask_to_stop(self) -> None:
        """Tell it to end its order after the epoch, if it has one, and note the time."""
        if self.job is not None:
            self.ending.set()
            if self.stop_asked_at is None:
                self.stop_asked_at = time.monotonic()

    def wake_all(self) -> None:
        """Wake all calls of it that wait."""
        for event in (self.wake, self.ending, self.failures.changed):
            event.set()


@dataclass(eq=False)
class Lease:
    """A trial that waits for groups or holds some, its orders and their outcomes."""

    trial: str
    wanted: int
    groups: list[Group] = field(default_factory=list)
    queue: deque[Job] = field(default_factory=deque)
    homes: dict[int, Group] = field(default_factory=dict)
    outcomes: list[FoldOutcome] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def wake_groups(self) -> None:
        """Have the groups look for an order."""
        for group in self.groups:
            group.wake.set()


class FreeGroups:
    """The numbers of the groups that no trial holds; the smallest is taken first.

    Adding, removing and giving out take time logarithmic in their number.
    """

    def __init__(self) -> None:
        self._numbers: set[int] = set()
        self._heap: list[int] = []  # may hold numbers that have been removed

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, number: int) -> None:
        """Add a group, unless it is there already."""
        if number not in self._numbers:
            self._numbers.add(number)
            heapq.heappush(self._heap, number)

    def discard(self, number: int) -> None:
        """Remove a group, if it is there."""
        self._numbers.discard(number)

    def pop(self) -> int:
        """Remove the smallest number and return it."""
        while True:
            number = heapq.heappop(self._heap)
            if number in self._numbers:
                self._numbers.remove(number)
                return number


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event; unlike ``asyncio.wait_for`` without a task for it."""
    if event.is_set():
        return True
    try:
        async with asyncio.timeout(None if seconds == math.inf else seconds):
            return await event.wait()
    except TimeoutError:
        return False

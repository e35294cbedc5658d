"""A dispatcher's records of groups, trials and jobs."""

import asyncio
import heapq
import math
import time
from collections import deque
from dataclasses import dataclass, field

from rayfold.groups.snapshot import GroupState
from rayfold.jobs import FoldJob, FoldOutcome


@dataclass(eq=False)
class Attempt:
    """A job, and why its last worker died."""

    job: FoldJob
    error: str = ""
    fault: str | None = None


class Deaths:
    """Why groups have died at each fold, over all leases of its trial.

    The actor of a trial may die with its group, come back and give the same job again.
    """

    def __init__(self) -> None:
        self._errors: dict[tuple[str, str, int], list[str]] = {}

    def note(self, attempt: Attempt) -> None:
        """Note that a group has died at a job."""
        self._errors.setdefault(attempt.job.key, []).append(attempt.error)

    def forget(self, attempt: Attempt) -> None:
        """Forget the deaths at a job that has had an outcome."""
        self._errors.pop(attempt.job.key, None)

    def verdict(self, attempt: Attempt, limit: int) -> str | None:
        """Return the error of a job after ``limit`` deaths; None before that."""
        errors = self._errors.get(attempt.job.key, [])
        if len(errors) < limit:
            return None
        self.forget(attempt)
        cause = errors[-1].rstrip(" .\n") or "it started anew"
        return f"{cause}; {len(errors)} attempts at fold {attempt.job.fold} ended like this."


@dataclass(eq=False)
class Failures:
    """The ranks of a group that have failed on its present job."""

    ranks: set[int] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class Group:
    """A group and its present job."""

    number: int
    node: str
    process_id: int
    token: str
    ready_at: float
    last_seen: float
    num_starts: int = 1
    lease: "Lease | None" = None
    attempt: Attempt | None = None
    epoch: int = 0
    stop_asked_at: float | None = None
    num_outcomes: int = 0
    lost: bool = False
    dead: bool = False
    failures: Failures = field(default_factory=Failures)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the present job should end after its epoch."""

    def state(self) -> GroupState:
        """Return its state for others."""
        job = self.attempt.job if self.attempt else None
        return GroupState(
            group=self.number,
            node=self.node,
            ready_at=self.ready_at,
            process_id=self.process_id,
            study=job.study if job else None,
            trial=job.trial if job else None,
            fold=job.fold if job else None,
            epoch=self.epoch,
            num_starts=self.num_starts,
            stopping_seconds=(
                0.0 if self.stop_asked_at is None else time.monotonic() - self.stop_asked_at
            ),
        )

    def begin(self, attempt: Attempt) -> None:
        """Give it a job."""
        self.attempt, self.epoch = attempt, 0
        self.stop_asked_at, attempt.error = None, ""
        self.ending.clear()
        self.failures = Failures()  # a rank may still look at the last job's

    def ask_to_stop(self) -> None:
        """Tell it to end its job after the epoch, if it has one, and note the time."""
        if self.attempt is not None:
            self.ending.set()
            if self.stop_asked_at is None:
                self.stop_asked_at = time.monotonic()

    def wake_all(self) -> None:
        """Wake all calls of it that wait."""
        for event in (self.wake, self.ending, self.failures.changed):
            event.set()


@dataclass(eq=False)
class Lease:
    """A trial that waits for groups or holds some, its jobs and their outcomes."""

    trial: str
    wanted: int
    groups: list[Group] = field(default_factory=list)
    queue: deque[Attempt] = field(default_factory=deque)
    homes: dict[int, Group] = field(default_factory=dict)
    outcomes: list[FoldOutcome] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def deliver(self, outcome: FoldOutcome) -> None:
        """Hand an outcome to the trial."""
        self.outcomes.append(outcome)
        self.wake.set()

    def wake_groups(self) -> None:
        """Have the groups look for a job."""
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

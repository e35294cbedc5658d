"""The pool's switchboard: which trial holds which groups, and which fold each group trains.

It runs as one asyncio actor, so that trials and groups, wherever they are, agree through it. It
knows nothing of Ray itself: its methods are plain coroutines.
"""

import asyncio
import math
import time
import uuid
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from rayfold.orders import FoldOutcome, FoldTask, Order

POLL_SECONDS = 20.0
"""How long a group waits for an order before it asks again."""

LOST_SECONDS = 60.0
"""A busy group that has been silent for this long has lost its order to another group."""

MAX_ATTEMPTS = 3
"""After so many deaths or lone failures of a worker on the same order, the order has failed.

A group that dies so often in a row before it has taken an order is not started again.
"""

RANKS_SECONDS = 10.0
"""How long a failed rank waits for the others to fail as well."""


@dataclass(frozen=True, kw_only=True)
class GroupState:
    """One group as others see it.

    Attributes:
        group: Its number.
        node: Node id of its rank 0.
        ready_at: When it first announced itself, Unix seconds.
        process_id: Process id of its rank 0.
        study: The study of the trial whose fold it trains, or None.
        trial: That trial, or None.
        fold: That fold, or None.
        epoch: Epochs of that fold so far.
        num_starts: How often it has announced itself.
        stopping_seconds: How long ago it was told to end its order; 0 if it was not.
    """

    group: int
    node: str
    ready_at: float
    process_id: int
    study: str | None
    trial: str | None
    fold: int | None
    epoch: int
    num_starts: int
    stopping_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The pool at one moment.

    Attributes:
        groups: The groups that have announced themselves, and are neither silent nor dead.
        num_waiting: Trials that wait for groups.
        broken: Why a group cannot start; empty when none has failed to.
        silent: Numbers of groups whose processes may be there but have long not been heard of.
    """

    groups: tuple[GroupState, ...] = ()
    num_waiting: int = 0
    broken: str = ""
    silent: tuple[int, ...] = ()

    @property
    def num_busy(self) -> int:
        """How many groups train a fold."""
        return sum(group.trial is not None for group in self.groups)


@dataclass
class _Job:
    task: FoldTask
    attempts: int = 0
    error: str = ""
    fault: str | None = None


@dataclass
class _Group:
    number: int
    node: str
    process_id: int
    token: str
    ready_at: float
    last_seen: float
    num_starts: int = 1
    lease: "_Lease | None" = None
    job: _Job | None = None
    epoch: int = 0
    cancelled: bool = False
    stop_asked_at: float | None = None
    num_outcomes: int = 0
    lost: bool = False
    dead: bool = False
    failed_ranks: set[int] = field(default_factory=set)
    wake: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class _Lease:
    trial: str
    wanted: int
    groups: list[_Group] = field(default_factory=list)
    queue: deque[_Job] = field(default_factory=deque)
    homes: dict[int, _Group] = field(default_factory=dict)
    outcomes: list[FoldOutcome] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Dispatcher:
    """Lends groups to trials, all that a trial asks for or none, first come first served.

    Trials call ``acquire``, ``submit``, ``wait`` and ``release`` under a name that no other trial
    of the pool has (``orders.lease_name``); rank 0 of a group calls ``announce``, ``exchange`` and
    ``heartbeat``; the driver calls the rest.
    """

    def __init__(self) -> None:
        self._groups: dict[int, _Group] = {}
        self._leases: dict[str, _Lease] = {}
        self._waiting: deque[_Lease] = deque()
        self._interrupted = False
        self._stopping = False
        self._early_deaths: dict[int, int] = {}
        self._broken = ""

    # -- for trials

    async def acquire(self, trial: str, num_groups: int) -> int:
        """Wait until ``num_groups`` groups are free, and take them.

        Fewer are taken when the whole pool has fewer. A trial that holds groups already (its
        actor has died and come back) gives these back first.

        Returns:
            How many groups the trial holds now; 0 when the study is interrupted.
        """
        self._release(trial)
        lease = _Lease(trial=trial, wanted=num_groups)
        self._leases[trial] = lease
        self._waiting.append(lease)
        self._grant()
        while not lease.groups and self._leases.get(trial) is lease and not self._interrupted:
            lease.wake.clear()
            await lease.wake.wait()
        return len(lease.groups)

    async def submit(self, trial: str, tasks: Iterable[FoldTask]) -> None:
        """Queue orders for the trial's groups.

        A fold's first order goes to whichever group is free, later ones to where its state is.
        """
        lease = self._leases[trial]
        lease.queue.extend(_Job(task) for task in tasks)
        _wake_groups(lease)

    async def wait(self, trial: str, timeout: float | None = None) -> list[FoldOutcome]:
        """Wait for outcomes of the trial's orders.

        None at all means: interrupted, released, or ``timeout`` seconds have passed.
        """
        lease = self._leases.get(trial)
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while lease and not lease.outcomes and not self._interrupted:
            left = deadline - time.monotonic()
            if self._leases.get(trial) is not lease or left <= 0:
                return []
            lease.wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(lease.wake.wait(), None if left == math.inf else left)
        if lease is None:
            return []
        outcomes, lease.outcomes = lease.outcomes, []
        return outcomes

    async def release(self, trial: str) -> None:
        """Give the trial's groups back; orders in training end after their epoch."""
        self._release(trial)
        self._grant()

    # -- for rank 0 of a group, and for ranks that fail

    async def announce(self, group: int, node: str, process_id: int) -> str:
        """Enter a group that is ready, for the first time or again.

        Returns:
            A token that the group shows with every later call; older ones are void.
        """
        token = uuid.uuid4().hex
        known = self._groups.get(group)
        if known is None:
            self._groups[group] = _Group(
                number=group,
                node=node,
                process_id=process_id,
                token=token,
                ready_at=time.time(),
                last_seen=time.monotonic(),
            )
        else:
            known.token, known.node, known.process_id = token, node, process_id
            known.last_seen, known.lost, known.dead = time.monotonic(), False, False
            known.num_starts, known.num_outcomes = known.num_starts + 1, 0
            self._take_back(known)
            known.wake.set()
        self._grant()
        return token

    async def exchange(self, group: int, token: str, outcome: FoldOutcome | None) -> Order:
        """Hand in the outcome of the last order, and wait for the next."""
        state = self._groups[group]
        if state.token != token:
            return Order(stop=True)
        state.last_seen = time.monotonic()
        if outcome is not None:
            self._settle(state, outcome)
        if state.lost:  # it was only slow
            state.lost = False
            self._grant()
        deadline = time.monotonic() + POLL_SECONDS
        while not self._stopping and state.token == token:
            if self._assign(state):
                assert state.job is not None
                return Order(task=state.job.task)
            state.wake.clear()
            try:
                await asyncio.wait_for(state.wake.wait(), deadline - time.monotonic())
            except TimeoutError:
                state.last_seen = time.monotonic()
                return Order()
        return Order(stop=True)

    async def heartbeat(self, group: int, token: str, epoch: int) -> bool:
        """Tell that a group is alive and how far it is.

        Returns:
            Whether it should end its present order after the epoch.
        """
        state = self._groups[group]
        if state.token != token:
            return True
        state.last_seen, state.epoch = time.monotonic(), epoch
        return state.cancelled or state.lost or self._interrupted or self._stopping

    async def rank_failed(
        self,
        group: int,
        token: str,
        rank: int,
        world_size: int,
        error: str,
        fault: str | None = None,
    ) -> bool:
        """Tell that one rank of a group has failed on the present order, and wait for the others.

        Where the machine is at fault, the order ends with that as soon as the group is rebuilt.

        Returns:
            True when all ranks failed, so that the group can go on with the next order. False
            when some did not, and the group has to be rebuilt: they are dead, or wait in a
            collective that will never be complete. The two look alike from here, so that the
            order is given out again, until it has been so ``MAX_ATTEMPTS`` times.
        """
        state = self._groups[group]
        if state.token != token:
            return False
        job, failed_ranks = state.job, state.failed_ranks
        failed_ranks.add(rank)
        deadline = time.monotonic() + RANKS_SECONDS
        while len(failed_ranks) < world_size and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
            if state.token != token:  # the group has started anew already
                return False
        if len(failed_ranks) >= world_size:
            return True
        if job is not None:
            job.error, job.fault = error, fault
        return False

    async def group_died(
        self, group: int, cause: str, details: str = "", *, node_lost: bool = False
    ) -> bool:
        """Tell that a group's processes are gone; its order is given out again.

        The loss of a node is not counted, neither against the group nor against the order.

        Returns:
            Whether the group is to be started again: not if it has died ``MAX_ATTEMPTS`` times
            in a row before it took an order, since it would do so for ever (a module is missing
            on its node, say). A group that dies at its orders is started again however often.
        """
        state = self._groups.get(group)
        early = state is None or not (state.job or state.num_outcomes or state.lost)
        if early and not node_lost:
            self._early_deaths[group] = self._early_deaths.get(group, 0) + 1
        elif not early:
            self._early_deaths.pop(group, None)
        hopeless = self._early_deaths.get(group, 0) >= MAX_ATTEMPTS
        if state is not None:
            state.token, state.dead = "", True
            if state.job is not None:
                state.job.error = state.job.error or f"{details}\n{cause}".strip()
                state.job.attempts -= node_lost  # taking it back counts one
            self._take_back(state)
            if hopeless:
                state.last_seen = -math.inf
                self._replace_lost()
        if hopeless:
            self._broken = (
                f"group {group} has ended {MAX_ATTEMPTS} times in a row before it took an order: "
                f"{cause}."
            )
        return not hopeless

    # -- for the driver

    async def snapshot(self) -> Snapshot:
        """Return the pool as it is, after giving orders of silent groups to others."""
        self._replace_lost()
        return Snapshot(
            groups=tuple(
                GroupState(
                    group=group.number,
                    node=group.node,
                    ready_at=group.ready_at,
                    process_id=group.process_id,
                    study=group.job.task.study if group.job else None,
                    trial=group.job.task.trial if group.job else None,
                    fold=group.job.task.fold if group.job else None,
                    epoch=group.epoch,
                    num_starts=group.num_starts,
                    stopping_seconds=_seconds_since(group.stop_asked_at),
                )
                for group in self._groups.values()
                if not group.lost and not group.dead
            ),
            num_waiting=len(self._waiting),
            broken=self._broken,
            silent=tuple(
                group.number for group in self._groups.values() if group.lost and not group.dead
            ),
        )

    async def interrupt(self) -> None:
        """End all waiting; groups write a checkpoint after their epoch and go idle."""
        self._interrupted = True
        self._ask_all_to_stop()

    async def stop(self) -> None:
        """Send every group home."""
        self._interrupted = self._stopping = True
        self._ask_all_to_stop()

    # -- private

    def _ask_all_to_stop(self) -> None:
        for lease in self._leases.values():
            lease.wake.set()
        for group in self._groups.values():
            _ask_to_stop(group)
            group.wake.set()

    def _grant(self) -> None:
        """Serve the trials that wait, in their order, each whole or not at all."""
        while self._waiting:
            alive = [group for group in self._groups.values() if not group.lost | group.dead]
            free = [group for group in alive if group.lease is None and group.job is None]
            lease = self._waiting[0]
            wanted = min(lease.wanted, len(alive))
            if not wanted or len(free) < wanted:
                return
            self._waiting.popleft()
            lease.groups = free[:wanted]
            for group in lease.groups:
                group.lease = lease
                group.wake.set()
            lease.wake.set()

    def _release(self, trial: str) -> None:
        lease = self._leases.pop(trial, None)
        if lease is None:
            return
        if lease in self._waiting:
            self._waiting.remove(lease)
        lease.queue.clear()
        for group in lease.groups:
            group.lease = None
            group.cancelled = group.job is not None
            _ask_to_stop(group)
        lease.wake.set()

    def _assign(self, group: _Group) -> bool:
        """Give ``group`` the next order of its lease that it may take.

        Of folds that are nobody's yet it prefers those that the same group of other trials takes,
        since it may have states of these in memory.
        """
        lease = group.lease
        if lease is None or self._interrupted:
            return False
        homes, place = lease.homes, lease.groups.index(group)
        jobs = [job for job in lease.queue if homes.get(job.task.fold, group) is group]
        if not jobs:
            return False
        job = min(
            jobs,
            key=lambda job: (
                job.task.fold not in homes and job.task.fold % len(lease.groups) != place
            ),
        )
        lease.queue.remove(job)
        homes[job.task.fold] = group
        group.job, group.cancelled, group.epoch = job, False, 0
        group.stop_asked_at, job.error = None, ""
        group.failed_ranks = set()  # a rank may still look at the last order's
        return True

    def _settle(self, group: _Group, outcome: FoldOutcome) -> None:
        """Book the outcome of the group's present order; an order taken back counts no more."""
        job, group.job, group.stop_asked_at = group.job, None, None
        group.num_outcomes += 1
        if group.lease is None:
            self._grant()
        elif job is not None and job.task == outcome.task:
            group.lease.outcomes.append(outcome)
            group.lease.wake.set()

    def _take_back(self, group: _Group) -> None:
        """Queue the order of a group that is rebuilt once more, unless that is hopeless."""
        job, group.job, lease = group.job, None, group.lease
        group.stop_asked_at = None
        if lease is None:
            return
        lease.homes = {fold: home for fold, home in lease.homes.items() if home is not group}
        if job is None:
            return
        job.attempts += 1
        if job.fault is not None:
            lease.outcomes.append(FoldOutcome(task=job.task, fault=job.fault))
            lease.wake.set()
            return
        if job.attempts >= MAX_ATTEMPTS:
            cause = job.error.rstrip(" .\n") or "it started anew"
            error = f"{cause}; {job.attempts} attempts at fold {job.task.fold} ended like this."
            lease.outcomes.append(FoldOutcome(task=job.task, error=error))
            lease.wake.set()
            return
        lease.queue.appendleft(job)
        _wake_groups(lease)

    def _replace_lost(self) -> None:
        """Take groups that have been silent for long out of the pool, and their orders back."""
        limit = time.monotonic() - LOST_SECONDS
        for group in self._groups.values():
            if group.lost or group.last_seen >= limit:
                continue
            group.lost = True
            lease = group.lease
            if group.job is not None and not group.job.error:
                group.job.error = f"it has not been heard of for {LOST_SECONDS:.0f} s."
            self._take_back(group)
            group.lease = None
            if lease is None:
                continue
            lease.groups.remove(group)
            if not lease.groups:
                lease.wanted = 1
                self._waiting.appendleft(lease)
        self._grant()


def _wake_groups(lease: _Lease) -> None:
    for group in lease.groups:
        group.wake.set()


def _ask_to_stop(group: _Group) -> None:
    """Note since when a group is to end its order, if it has one."""
    if group.job is not None and group.stop_asked_at is None:
        group.stop_asked_at = time.monotonic()


def _seconds_since(moment: float | None) -> float:
    return 0.0 if moment is None else time.monotonic() - moment

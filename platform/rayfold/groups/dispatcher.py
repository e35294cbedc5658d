"""The dispatcher of a pool: which trial holds which groups, and which fold each group trains.

It runs as one asyncio actor, which all trials and groups call. It does not use Ray itself: its
methods are plain coroutines.
"""

import asyncio
import heapq
import math
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable

from rayfold.groups.leases import Attempt, Deaths, FreeGroups, Group, Lease, is_set_within
from rayfold.groups.snapshot import SHOWN_GROUPS, Arrival, Snapshot
from rayfold.jobs import FoldJob, FoldOutcome, Reply

POLL_SECONDS = 20.0
"""Seconds that a group waits for a job before it asks again."""

BEAT_SECONDS = 1.0
"""Seconds between two reports of a group in training, in a small pool."""

BEATS_PER_SECOND = 50.0
"""Reports per second of all groups together; in a large pool each group reports less often."""

LOST_SECONDS = 60.0
"""Seconds of silence after which a group's job is given to another group.

In pools of more than 1,500 groups it is twice the time between two reports of a group.
"""

MAX_ATTEMPTS = 3
"""Number of deaths or lone failures of a worker on one job after which the job has failed.

A group that dies as often in a row before it takes a job is not restarted.
"""

RANKS_SECONDS = 10.0
"""Seconds that a failed rank waits for the others to fail as well."""


class Dispatcher:
    """Lends groups to trials: all that a trial asks for or none, first come first served.

    Trials call ``acquire``, ``submit``, ``wait`` and ``release`` with a name that is unique in the
    pool (``jobs.lease_name``). Rank 0 of a group calls ``announce``, ``exchange`` and
    ``listen``. The driver calls the other methods.

    The cost of a call does not grow with the number of groups, except for ``snapshot``,
    ``interrupt`` and ``stop``. Callers that wait are woken; nobody polls.
    """

    def __init__(self) -> None:
        self._groups: dict[int, Group] = {}
        self._away: set[int] = set()
        self._free = FreeGroups()
        self._leases: dict[str, Lease] = {}
        self._waiting: OrderedDict[str, Lease] = OrderedDict()
        self._interrupted = False
        self._stopping = False
        self._early_deaths: dict[int, int] = {}
        self._deaths = Deaths()
        self._broken = ""

    # -- for trials

    async def acquire(self, trial: str, num_groups: int) -> int:
        """Wait until ``num_groups`` groups are free, and take them.

        It takes fewer if the whole pool has fewer. If the trial already holds groups (its actor
        has died and come back), it gives these back first.

        Returns:
            Number of groups that the trial now holds; 0 if the study is interrupted.
        """
        self._release(trial)
        lease = Lease(trial=trial, wanted=num_groups)
        self._leases[trial] = lease
        self._waiting[trial] = lease
        self._grant()
        while not lease.groups and self._leases.get(trial) is lease and not self._interrupted:
            lease.wake.clear()
            await lease.wake.wait()
        return len(lease.groups)

    async def submit(self, trial: str, jobs: Iterable[FoldJob]) -> None:
        """Queue jobs for the trial's groups.

        A fold's first job goes to any free group, later ones to the group with its state.
        """
        lease = self._leases[trial]
        for job in jobs:
            attempt = Attempt(job)
            # the trial's groups may have died before its actor, at this very job
            if not self._give_up(attempt, lease):
                lease.queue.append(attempt)
        lease.wake_groups()

    async def wait(self, trial: str, timeout: float | None = None) -> list[FoldOutcome]:
        """Wait for outcomes of the trial's jobs.

        An empty result means: interrupted, released, or ``timeout`` seconds have passed.
        """
        lease = self._leases.get(trial)
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while lease and not lease.outcomes and not self._interrupted:
            left = deadline - time.monotonic()
            if self._leases.get(trial) is not lease or left <= 0:
                return []
            lease.wake.clear()
            await is_set_within(lease.wake, left)
        if lease is None:
            return []
        outcomes, lease.outcomes = lease.outcomes, []
        return outcomes

    async def release(self, trial: str) -> None:
        """Give the trial's groups back; jobs in training end after their epoch."""
        self._release(trial)
        self._grant()

    # -- for rank 0 of a group, and for ranks that fail

    async def announce(self, group: int, node: str, process_id: int) -> str:
        """Enter a group that is ready, for the first time or again.

        Returns:
            A token that the group sends with every later call; older tokens are invalid.
        """
        token = uuid.uuid4().hex
        known = self._groups.get(group)
        if known is None:
            known = self._groups[group] = Group(
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
            known.wake_all()  # whoever waits with the old token is told
            known.ending = asyncio.Event()
        self._note(known)
        self._grant()
        return token

    async def exchange(self, group: int, token: str, outcome: FoldOutcome | None) -> Reply:
        """Deliver the outcome of the last job, and wait for the next job."""
        state = self._groups[group]
        if state.token != token:
            return Reply(stop=True)
        state.last_seen = time.monotonic()
        if outcome is not None:
            self._settle(state, outcome)
        if state.lost:  # it was only slow
            state.lost = False
            self._note(state)
            self._grant()
        deadline = time.monotonic() + max(POLL_SECONDS, self._beat_seconds)
        while not self._stopping and state.token == token:
            if self._assign(state):
                assert state.attempt is not None
                return Reply(job=state.attempt.job)
            state.wake.clear()
            if not await is_set_within(state.wake, deadline - time.monotonic()):
                if state.token == token:
                    state.last_seen = time.monotonic()
                return Reply()
        return Reply(stop=True)

    async def listen(self, group: int, token: str, epoch: int) -> bool:
        """Report a group's progress, and wait for a reason to end its job.

        Returns:
            True as soon as the group should end its present job after the epoch; False when it
            is time for the next report.
        """
        state = self._groups[group]
        if state.token != token:
            return True
        state.last_seen, state.epoch = time.monotonic(), epoch
        should_end = await is_set_within(state.ending, self._beat_seconds)
        if state.token == token:
            state.last_seen = time.monotonic()
        return should_end or state.token != token

    async def rank_failed(
        self,
        group: int,
        token: str,
        rank: int,
        world_size: int,
        error: str,
        fault: str | None = None,
    ) -> bool:
        """Report that one rank of a group has failed on the present job; wait for the others.

        If the machine is at fault, the job ends with this fault when the group is rebuilt.

        Returns:
            True if all ranks failed: the group can take the next job. False if some did not:
            they are dead, or wait in a collective that will never be complete, and the group must
            be rebuilt. These cases cannot be distinguished here, so the job is given out again,
            up to ``MAX_ATTEMPTS`` attempts.
        """
        state = self._groups[group]
        if state.token != token:
            return False
        attempt, failures = state.attempt, state.failures
        failures.ranks.add(rank)
        failures.changed.set()
        deadline = time.monotonic() + RANKS_SECONDS
        while len(failures.ranks) < world_size and time.monotonic() < deadline:
            failures.changed.clear()
            await is_set_within(failures.changed, deadline - time.monotonic())
            if state.token != token:  # the group has started anew already
                return False
        if len(failures.ranks) >= world_size:
            return True
        if attempt is not None:
            attempt.error, attempt.fault = error, fault
        return False

    async def group_died(
        self, group: int, cause: str, details: str = "", *, node_lost: bool = False
    ) -> bool:
        """Report that a group's processes are gone; its job is given out again.

        The loss of a node counts neither against the group nor against the job.

        Returns:
            Whether to restart the group. Not if it has died ``MAX_ATTEMPTS`` times in a row before
            it took a job: it would always do so, for example if a module is missing on its
            node. A group that dies during jobs is always restarted.
        """
        state = self._groups.get(group)
        early = state is None or not (state.attempt or state.num_outcomes or state.lost)
        if early and not node_lost:
            self._early_deaths[group] = self._early_deaths.get(group, 0) + 1
        elif not early:
            self._early_deaths.pop(group, None)
        hopeless = self._early_deaths.get(group, 0) >= MAX_ATTEMPTS
        if state is not None:
            state.token, state.dead = "", True
            if state.attempt is not None:
                state.attempt.error = state.attempt.error or f"{details}\n{cause}".strip()
            self._take_back(state, counts=not node_lost)
            state.wake_all()
            self._note(state)
            if hopeless:
                state.last_seen = -math.inf
                self._replace_lost()
        if hopeless:
            self._broken = (
                f"group {group} has ended {MAX_ATTEMPTS} times in a row before it took a job: "
                f"{cause}."
            )
        return not hopeless

    # -- for the driver

    async def snapshot(self) -> Snapshot:
        """Return the state of the pool, after giving jobs of silent groups to others."""
        self._replace_lost()
        ready = [group for group in self._groups.values() if group.number not in self._away]
        shown = heapq.nsmallest(SHOWN_GROUPS, ready, key=lambda group: group.number)
        stopping = heapq.nsmallest(
            SHOWN_GROUPS,
            (group for group in ready if group.stop_asked_at is not None),
            key=lambda group: group.stop_asked_at or 0.0,
        )
        return Snapshot(
            ready=tuple(group.number for group in ready),
            num_busy=sum(group.attempt is not None for group in ready),
            num_arrived=len(self._groups),
            num_waiting=len(self._waiting),
            ready_at=min((group.ready_at for group in self._groups.values()), default=None),
            groups=tuple(group.state() for group in shown),
            stopping=tuple(group.state() for group in stopping),
            silent=tuple(number for number in sorted(self._away) if not self._groups[number].dead),
            broken=self._broken,
        )

    async def arrivals(self) -> tuple[Arrival, ...]:
        """Return when each group was ready for the first time, and where it is."""
        return tuple(
            Arrival(group=group.number, node=group.node, ready_at=group.ready_at)
            for group in self._groups.values()
        )

    async def interrupt(self) -> None:
        """End all waiting calls; groups write a checkpoint after their epoch and become idle."""
        self._interrupted = True
        self._ask_all_to_stop()

    async def stop(self) -> None:
        """Tell every group to end."""
        self._interrupted = self._stopping = True
        self._ask_all_to_stop()

    # -- private

    @property
    def _beat_seconds(self) -> float:
        """Seconds that a group may be silent while it trains or waits."""
        return max(BEAT_SECONDS, len(self._groups) / BEATS_PER_SECOND)

    def _ask_all_to_stop(self) -> None:
        for group in self._groups.values():  # before the trials: theirs are the calls that hurry
            group.ask_to_stop()
            group.wake_all()
        for lease in self._leases.values():
            lease.wake.set()

    def _grant(self) -> None:
        """Give groups to the waiting trials in their order: all that a trial wants, or none."""
        while self._waiting:
            trial, lease = next(iter(self._waiting.items()))
            wanted = min(lease.wanted, len(self._groups) - len(self._away))
            if not wanted or len(self._free) < wanted:
                return
            del self._waiting[trial]
            lease.groups = [self._groups[self._free.pop()] for _ in range(wanted)]
            for group in lease.groups:
                group.lease = lease
                group.wake.set()
            lease.wake.set()

    def _note(self, group: Group) -> None:
        """Enter a group among those that are away or free; called after each change of it."""
        if group.lost or group.dead:
            self._away.add(group.number)
        else:
            self._away.discard(group.number)
        if group.number in self._away or group.lease is not None or group.attempt is not None:
            self._free.discard(group.number)
        else:
            self._free.add(group.number)

    def _release(self, trial: str) -> None:
        lease = self._leases.pop(trial, None)
        if lease is None:
            return
        self._waiting.pop(trial, None)
        lease.queue.clear()
        for group in lease.groups:
            group.lease = None
            group.ask_to_stop()
            self._note(group)
        lease.wake.set()

    def _assign(self, group: Group) -> bool:
        """Give ``group`` the next job of its lease that it may take.

        Among unassigned folds, prefer those that this group trained for other trials, since it may
        have states of these in memory.
        """
        lease = group.lease
        if lease is None or self._interrupted:
            return False
        homes, place = lease.homes, lease.groups.index(group)
        attempts = [
            attempt for attempt in lease.queue if homes.get(attempt.job.fold, group) is group
        ]
        if not attempts:
            return False
        attempt = min(
            attempts,
            key=lambda attempt: (
                attempt.job.fold not in homes and attempt.job.fold % len(lease.groups) != place
            ),
        )
        lease.queue.remove(attempt)
        homes[attempt.job.fold] = group
        group.begin(attempt)
        return True

    def _settle(self, group: Group, outcome: FoldOutcome) -> None:
        """Record the outcome of the group's present job; ignore a job that was taken back."""
        attempt, group.attempt, group.stop_asked_at = group.attempt, None, None
        group.num_outcomes += 1
        if attempt is not None:
            self._deaths.forget(attempt)
        if group.lease is None:
            self._note(group)
            self._grant()
        elif attempt is not None and attempt.job == outcome.job:
            group.lease.deliver(outcome)

    def _take_back(self, group: Group, *, counts: bool = True) -> None:
        """Queue the job of a rebuilt group once more, unless it had its last attempt."""
        attempt, group.attempt, lease = group.attempt, None, group.lease
        group.stop_asked_at = None
        if lease is not None:
            lease.homes = {fold: home for fold, home in lease.homes.items() if home is not group}
        if attempt is None:
            return
        if counts and attempt.fault is None:
            self._deaths.note(attempt)
        if lease is None:
            return
        if attempt.fault is not None:
            lease.deliver(FoldOutcome(job=attempt.job, fault=attempt.fault))
        elif not self._give_up(attempt, lease):
            lease.queue.appendleft(attempt)
            lease.wake_groups()

    def _give_up(self, attempt: Attempt, lease: Lease) -> bool:
        """Fail a job if groups have died at it too often; return whether it failed."""
        error = self._deaths.verdict(attempt, MAX_ATTEMPTS)
        if error is None:
            return False
        lease.deliver(FoldOutcome(job=attempt.job, error=error))
        return True

    def _replace_lost(self) -> None:
        """Remove groups that have been silent for too long, and take their jobs back."""
        limit = time.monotonic() - max(LOST_SECONDS, 2 * self._beat_seconds)
        for group in self._groups.values():
            if group.lost or group.last_seen >= limit:
                continue
            group.lost = True
            lease = group.lease
            if group.attempt is not None and not group.attempt.error:
                group.attempt.error = f"it has not been heard of for {LOST_SECONDS:.0f} s."
            self._take_back(group)
            group.lease = None
            group.ending.set()
            self._note(group)
            if lease is None:
                continue
            lease.groups.remove(group)
            if not lease.groups:
                lease.wanted = 1
                self._waiting[lease.trial] = lease
                self._waiting.move_to_end(lease.trial, last=False)
        self._grant()

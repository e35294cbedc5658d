"""The supervisor, which starts the groups of a pool and restarts those that have ended."""

import logging
import math
import threading
import time
from typing import Protocol

from rayfold.errors import DispatcherLostError, ResourcesError
from rayfold.groups.growth import groups_at_first, may_grow
from rayfold.groups.launchers.base import Launcher
from rayfold.groups.plan import Groups
from rayfold.groups.snapshot import GroupState, Snapshot
from rayfold.tracebacks import summary

logger = logging.getLogger(__name__)

GROW_SECONDS = 5.0
"""Seconds between two checks whether the cluster has room for another group."""

PATIENCE_SECONDS = 90.0
"""Seconds without a ready group after which the log says what is requested and what is free."""

GRACE_SECONDS = 10.0
"""Seconds that a group may take to end a job after it was told to.

It should end after its epoch. Otherwise it may hang in a step, and it is killed. A trial that is
over loses nothing by this; an interrupted fold resumes from its last checkpoint.
"""


LOOK_SECONDS = 1.0
"""Seconds to wait for the end of a group, between two checks of the others."""


class Records(Protocol):
    """The part of the dispatcher that a supervisor uses."""

    def snapshot(self) -> Snapshot:
        """Return the ready groups and their jobs."""

    def group_died(
        self, group: int, cause: str, details: str = "", *, node_lost: bool = False
    ) -> bool:
        """Report a group's end, and return whether to restart it."""


class Supervisor:
    """Starts groups when there is room, and restarts those that have ended.

    Args:
        groups: Their number and size.
        launcher: Starts their processes.
        records: The dispatcher, which knows their jobs.
        grace_seconds: Seconds that a group may take to end a job after it was told to.
    """

    def __init__(
        self,
        groups: Groups,
        launcher: Launcher,
        records: Records,
        *,
        grace_seconds: float,
    ) -> None:
        self._groups, self._launcher, self._records = groups, launcher, records
        self._grace_seconds = grace_seconds
        self._running: set[int] = set()
        self._num_given_up = 0
        self._grow_at = 0.0
        self._tell_at = math.inf
        self._failure = ""
        self._last_end = ""

    def begin(self) -> None:
        """Request as many groups as there is room for, at least ``groups.minimum``."""
        for _ in range(groups_at_first(self._groups, self._launcher.room())):
            self._start_another()
        self._grow_at = time.monotonic() + GROW_SECONDS
        self._tell_at = time.monotonic() + PATIENCE_SECONDS

    def watch(self, until: threading.Event) -> None:
        """Supervise the groups until an event is set.

        If this fails, it ends, and ``check`` raises.
        """
        while not until.is_set():
            try:
                self.look(LOOK_SECONDS)
            except DispatcherLostError:  # the study sees it, too
                return
            except Exception as error:
                logger.exception("Groups cannot be looked after any more.")
                self._failure = (
                    "groups that end cannot be started again any more "
                    f"({type(error).__name__}: {error})"
                )
                return

    def check(self, state: Snapshot) -> None:
        """Check that some group works or may still start.

        Args:
            state: The state of the groups from the dispatcher.

        Raises:
            ResourcesError: If no group is left, because all started ones could not work, or if the
                supervisor has failed.
        """
        if self._failure:
            raise ResourcesError(self._failure)
        if state.broken and not self._running:
            raise ResourcesError(state.broken)

    def look(self, timeout: float) -> None:
        """Do one round; wait for the end of a group for at most ``timeout`` seconds."""
        for ending in self._launcher.endings(timeout):
            told = summary(f"{ending.details}\n{ending.cause}")
            self._last_end = f" The last one that has ended: {told}." if ending.cause else ""
            if self._records.group_died(
                ending.group, ending.cause, ending.details, node_lost=ending.node_lost
            ):
                if ending.cause:
                    logger.warning("Group %d starts anew: %s.", ending.group, told)
                self._launcher.start(ending.group)
            else:
                logger.error("Group %d is not started again: %s.", ending.group, told)
                self._running.discard(ending.group)
                self._num_given_up += 1
        snapshot = self._records.snapshot()
        self._kill_those_that_hang(snapshot)
        self._grow(num_ready=snapshot.num_groups)

    def end(self) -> None:
        """End all groups; those in training may first end their job, in the grace period.

        The dispatcher has already told them to stop.
        """
        snapshot = self._records.snapshot()
        waited = max((group.stopping_seconds for group in snapshot.stopping), default=0.0)
        deadline = time.monotonic() + self._grace_seconds - waited
        left = self._running & set(snapshot.ready)
        while left and (patience := deadline - time.monotonic()) > 0:
            left -= {ending.group for ending in self._launcher.endings(min(patience, 1.0))}
        for group in snapshot.stopping:
            if group.group in left:
                self._tell_of_the_end(group)
        self.kill()

    def kill(self) -> None:
        """End all groups at once."""
        self._launcher.stop()
        self._running.clear()

    def _kill_those_that_hang(self, snapshot: Snapshot) -> None:
        for group in snapshot.stopping:
            if group.stopping_seconds > self._grace_seconds:
                self._tell_of_the_end(group)
                self._launcher.kill(group.group)
        for number in snapshot.silent:
            logger.warning("Group %d has fallen silent; its processes are killed.", number)
            self._launcher.kill(number)

    def _tell_of_the_end(self, group: GroupState) -> None:
        logger.warning(
            "Group %d has not ended fold %s of trial %s within %.0f s of being told to: it may "
            "hang, so its processes are killed. What the fold has not written is lost.",
            group.group,
            group.fold,
            group.trial,
            self._grace_seconds,
        )

    def _grow(self, *, num_ready: int) -> None:
        now = time.monotonic()
        if not num_ready and now > self._tell_at:
            self._tell_at = math.inf
            logger.warning(
                "No group is ready after %.0f s; one needs %s.%s The study waits.",
                PATIENCE_SECONDS,
                self._launcher.shortage(),
                self._last_end,
            )
        if now < self._grow_at:
            return
        self._grow_at = now + GROW_SECONDS
        started = self._num_given_up + len(self._running)
        if may_grow(self._groups, started=started, ready=self._num_given_up + num_ready) and (
            self._launcher.room() >= 1
        ):
            logger.info("The cluster has room: starting group %d.", started)
            self._start_another()

    def _start_another(self) -> None:
        number = self._num_given_up + len(self._running)
        self._running.add(number)
        self._launcher.start(number)

"""The state of a dispatcher's groups as a small record, for any number of groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Self

SHOWN_GROUPS = 32
"""Largest number of groups that a snapshot describes one by one."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A group that was ready for the first time.

    Attributes:
        group: Its number.
        node: Node id of its rank 0.
        ready_at: When it was ready, Unix seconds.
    """

    group: int
    node: str
    ready_at: float


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
        stopping_seconds: Seconds since it was told to end its job; 0 if it was not.
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
        ready: Numbers of the groups that have announced themselves and are neither silent nor
            dead.
        num_busy: Number of these that train a fold.
        num_arrived: Groups that have ever announced themselves.
        num_waiting: Trials that wait for groups.
        ready_at: When the first group was ready, Unix seconds, or None.
        groups: The first ``SHOWN_GROUPS`` groups that are ready, by number.
        stopping: Groups that were told to end their job and still train it, at most
            ``SHOWN_GROUPS``, those told first.
        silent: Numbers of groups that have been silent for too long; their processes may live.
        broken: Why a group cannot start; empty if none has failed to start.
    """

    ready: tuple[int, ...] = ()
    num_busy: int = 0
    num_arrived: int = 0
    num_waiting: int = 0
    ready_at: float | None = None
    groups: tuple[GroupState, ...] = ()
    stopping: tuple[GroupState, ...] = ()
    silent: tuple[int, ...] = ()
    broken: str = ""

    @property
    def num_groups(self) -> int:
        """Number of ready groups."""
        return len(self.ready)

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """Return the snapshot of a pool from those of its parts."""
        if len(parts) == 1:
            return parts[0]
        began = [part.ready_at for part in parts if part.ready_at is not None]
        groups = sorted(chain(*(part.groups for part in parts)), key=lambda group: group.group)
        stopping = sorted(
            chain(*(part.stopping for part in parts)), key=lambda group: -group.stopping_seconds
        )
        return cls(
            ready=tuple(chain(*(part.ready for part in parts))),
            num_busy=sum(part.num_busy for part in parts),
            num_arrived=sum(part.num_arrived for part in parts),
            num_waiting=sum(part.num_waiting for part in parts),
            ready_at=min(began, default=None),
            groups=tuple(groups[:SHOWN_GROUPS]),
            stopping=tuple(stopping[:SHOWN_GROUPS]),
            silent=tuple(chain(*(part.silent for part in parts))),
            broken=next((part.broken for part in parts if part.broken), ""),
        )

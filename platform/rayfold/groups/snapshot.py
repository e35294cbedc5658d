"""What a dispatcher tells of its groups; small, however many groups there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Self

SHOWN_GROUPS = 32
"""Groups that a snapshot describes one by one."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A group that was ready for the first time.

    Attributes:
        group: Its number.
        node: Node id of its rank 0.
        ready_at: When that was, Unix seconds.
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


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The pool at one moment.

    Attributes:
        num_groups: Groups that have announced themselves and are not lost.
        num_busy: How many of these train a fold.
        num_arrived: Groups that have ever announced themselves.
        num_waiting: Trials that wait for groups.
        ready_at: When the first group was ready, Unix seconds, or None.
        groups: The first ``SHOWN_GROUPS`` groups that are not lost, by number.
        broken: Why a group cannot start; empty when none has failed to.
    """

    num_groups: int = 0
    num_busy: int = 0
    num_arrived: int = 0
    num_waiting: int = 0
    ready_at: float | None = None
    groups: tuple[GroupState, ...] = ()
    broken: str = ""

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """Return the snapshot of a pool from those of its parts."""
        groups = sorted(
            (group for part in parts for group in part.groups), key=attrgetter("group")
        )
        return cls(
            num_groups=sum(part.num_groups for part in parts),
            num_busy=sum(part.num_busy for part in parts),
            num_arrived=sum(part.num_arrived for part in parts),
            num_waiting=sum(part.num_waiting for part in parts),
            ready_at=min(
                (part.ready_at for part in parts if part.ready_at is not None), default=None
            ),
            groups=tuple(sorted(groups, key=attrgetter("group"))[:SHOWN_GROUPS]),
            broken=next((part.broken for part in parts if part.broken), ""),
        )

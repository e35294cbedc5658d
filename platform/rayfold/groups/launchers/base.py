"""What a pool needs of whoever starts the processes of its groups."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Ending:
    """A group whose processes are gone.

    Attributes:
        group: Its number.
        cause: Why, in one line; empty if that was asked for.
        details: Where in the code, if that is known: a traceback up to the line of the cause.
        node_lost: Whether a node went, so that neither the group nor its order is to blame.
    """

    group: int
    cause: str = ""
    details: str = ""
    node_lost: bool = False


class Launcher(ABC):
    """Starts, watches and ends the processes of groups.

    It knows nothing of orders and decides nothing: how many groups there are, and whether one
    that has ended is started again, is decided by the pool. All methods are called by one thread.
    """

    @abstractmethod
    def room(self) -> int:
        """Return how many more groups fit at this moment."""

    @abstractmethod
    def start(self, group: int) -> None:
        """Start a group, for the first time or after it has ended; returns at once.

        Where there is no room yet, the group starts as soon as there is.
        """

    @abstractmethod
    def kill(self, group: int) -> None:
        """End a group's processes at once, whatever they do; ``endings`` tells of it, too."""

    @abstractmethod
    def endings(self, timeout: float) -> Sequence[Ending]:
        """Return the groups that have ended since the last call; wait for one for a while.

        Of a group that loses one process the others are killed; what was reserved for it is free.

        Args:
            timeout: Seconds to wait at most.
        """

    @abstractmethod
    def shortage(self) -> str:
        """Say in a few words what one group needs and how much of it is free."""

    @abstractmethod
    def stop(self) -> None:
        """End all groups at once, and give back what is reserved for them."""

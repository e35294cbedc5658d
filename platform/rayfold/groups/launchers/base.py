"""The base class of launchers, which start the processes of groups."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Ending:
    """A group whose processes are gone.

    Attributes:
        group: Its number.
        cause: Why, in one line; empty if the pool ended it.
        details: Where in the code, if known: a traceback up to the line of the cause.
        node_lost: Whether a node was lost, so that neither the group nor its job is at fault.
    """

    group: int
    cause: str = ""
    details: str = ""
    node_lost: bool = False


class Launcher(ABC):
    """Starts, watches and ends the processes of groups.

    It knows nothing of jobs and decides nothing. The pool decides how many groups there are, and
    whether a group that has ended is restarted. One thread calls all methods.
    """

    @abstractmethod
    def room(self) -> int:
        """Return how many more groups fit now."""

    @abstractmethod
    def start(self, group: int) -> None:
        """Start a group, for the first time or after it has ended; returns at once.

        If there is no room yet, the group starts as soon as there is.
        """

    @abstractmethod
    def kill(self, group: int) -> None:
        """End a group's processes at once; ``endings`` also reports it."""

    @abstractmethod
    def endings(self, timeout: float) -> Sequence[Ending]:
        """Return the groups that have ended since the last call; wait for one for some time.

        If a group loses one process, its others are killed and its resources are released.

        Args:
            timeout: Longest wait in seconds.
        """

    @abstractmethod
    def shortage(self) -> str:
        """Say briefly what one group needs and how much of it is free."""

    @abstractmethod
    def stop(self) -> None:
        """End all groups at once, and release their resources."""

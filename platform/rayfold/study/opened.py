"""Records of one call of ``Study.run``: its limits, and studies with their journals open."""

import math
from dataclasses import dataclass, field

from rayfold.events import State
from rayfold.journal import Journal
from rayfold.schedulers import Scheduler
from rayfold.space import SearchSpace
from rayfold.study.interruption import Interruption
from rayfold.training import StudySetup
from rayfold.tuning.ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class OpenStudy:
    """A study whose journal is open and replayed.

    Attributes:
        name: The study's name.
        setup: The setup of its folds.
        journal: Its journal, open for appending.
        ledger: Its ledger.
        scheduler: The started scheduler that the ledger informs; None without one.
        space: Its search space.
    """

    name: str
    setup: StudySetup
    journal: Journal
    ledger: Ledger
    scheduler: Scheduler | None
    space: SearchSpace


@dataclass(kw_only=True)
class Call:
    """One call of ``Study.run``, which the study shares with its parts.

    Attributes:
        address: Address of a Ray cluster; None starts or finds one.
        deadline: When it ends in order, by ``time.monotonic()``.
        show_progress: Whether to show a live table.
        accept_changed_code: Whether to resume with changed code.
        retry_failed: Whether to try failed trials again.
        interruption: Ctrl-C during the call.
        out_of_time: Whether the deadline came before everything was done.
    """

    address: str | None = None
    deadline: float = math.inf
    show_progress: bool = True
    accept_changed_code: bool = False
    retry_failed: bool = False
    interruption: Interruption = field(default_factory=Interruption)
    out_of_time: bool = False

    @property
    def ended(self) -> bool:
        """Whether to begin nothing more."""
        return self.interruption.requested or self.out_of_time

    @property
    def state(self) -> State:
        """How it has ended so far, as in journals."""
        if self.interruption.requested:
            return "interrupted"
        return "out_of_time" if self.out_of_time else "finished"

"""What one call of ``Study.run`` holds: its limits, and studies with their journals open."""

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
        setup: What all its folds share.
        journal: Open for appending.
        ledger: What the study knows.
        scheduler: Ours that the ledger tells, started; None without one.
        space: What is searched.
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
        accept_changed_code: Whether to go on with code that has changed.
        retry_failed: Whether to try failed trials again.
        interruption: Ctrl-C during it.
        out_of_time: Whether the deadline has come while something was still to be done.
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
        """Whether nothing more is to be begun."""
        return self.interruption.requested or self.out_of_time

    @property
    def state(self) -> State:
        """How it has ended so far, as journals name it."""
        if self.interruption.requested:
            return "interrupted"
        return "out_of_time" if self.out_of_time else "finished"

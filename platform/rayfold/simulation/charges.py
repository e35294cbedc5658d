"""What a study costs beyond its training, in simulated seconds."""

import math
from dataclasses import dataclass
from typing import Self

from rayfold.errors import RecipeError

FOLD_START = 0.0092
"""Seconds from sending a job to a living group to holding its outcome (measured)."""

JOURNAL_APPEND = 0.0006
"""Seconds of one fsynced entry of a journal (measured)."""


@dataclass(frozen=True, kw_only=True)
class Charges:
    """What is charged for everything but training.

    The driver does one thing at a time: its clock is charged what ``suggest`` and ``observe``
    take on the machine that simulates, and every entry of the journal. A fold's start is charged
    to its group, for groups start side by side.

    Attributes:
        searcher: Whether the measured time of ``suggest`` and ``observe`` is charged.
        fold_start: Seconds that a group takes from being given a fold until it trains.
        journal_append: Seconds of each entry: a suggestion, a fold, the end of a trial.

    Raises:
        RecipeError: If a number of seconds is negative or not finite.
    """

    searcher: bool = True
    fold_start: float = FOLD_START
    journal_append: float = JOURNAL_APPEND

    def __post_init__(self) -> None:
        for name in ("fold_start", "journal_append"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and seconds >= 0):
                raise RecipeError(f"{name} must be a number of seconds from 0, got {seconds!r}.")

    @classmethod
    def none(cls) -> Self:
        """Charge nothing: the simulation then follows from its seeds alone."""
        return cls(searcher=False, fold_start=0.0, journal_append=0.0)

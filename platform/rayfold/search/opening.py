"""How a search begins: with what was good before, for as long as that is worth it."""

import math
from collections.abc import Sequence

from rayfold.results import Config, Mode
from rayfold.search.portfolio import Entry
from rayfold.space.values import typed

CREDIT = 2
"""So many entries may be tried beyond those that have proved their worth."""

ENTRIES_PER_OWN = 3
"""So many entries may be tried for each configuration of the searcher's own."""

NUM_JUDGES = 8
"""So many of the searcher's own first scores are what entries are held against."""

_Key = tuple[object, ...]


class Opening:
    """Says when the next entry of a portfolio is due, and when the past has misled.

    The first entry comes first of all, then a configuration of the searcher's own. An entry wins
    if its score is better than the median of the searcher's own first scores by its standard
    error (as good, where none is known), and loses otherwise: where all scores are those of
    guessing, nothing is won. With every own score that comes in, all are judged anew. As long as
    lost entries and those that wait for their judgement outnumber the winners by ``CREDIT`` no
    more are tried, and none of a past study of whose entries more have lost than won. A misleading
    past therefore costs ``CREDIT`` trials, however many run at once.

    Args:
        entries: The portfolio.
        mode: Whether lower or higher scores are better.
    """

    def __init__(self, entries: Sequence[Entry], mode: Mode) -> None:
        self._left = list(entries)
        self._sign = 1.0 if mode == "min" else -1.0
        self._tried: dict[str, Entry] = {}
        self._losses: dict[str, float] = {}  # at their worst, a standard error above the score
        self._own_losses: list[float] = []
        self._num_own = 0

    @property
    def due(self) -> Entry | None:
        """The entry to try next; None if it is the searcher's own turn.

        Asking changes nothing.
        """
        if not self._left or len(self._tried) > ENTRIES_PER_OWN * self._num_own:
            return None
        won, lost = self._judged()
        if len(self._tried) - 2 * len(won) >= CREDIT:
            return None
        misled = {
            study
            for study in {entry.study for entry in lost}
            if sum(entry.study == study for entry in lost)
            > sum(entry.study == study for entry in won)
        }
        return next((entry for entry in self._left if entry.study not in misled), None)

    def try_due(self, id: str) -> None:
        """Note that the entry that is due was suggested."""
        entry = self.due
        assert entry is not None
        self._left.remove(entry)
        self._tried[id] = entry

    def note_own(self, config: Config) -> None:
        """Note a suggestion of the searcher's own; no entry repeats it."""
        self._num_own += 1
        if self._left:
            self._left = [entry for entry in self._left if _key(entry.config) != _key(config)]

    @property
    def num_won(self) -> int:
        """How many entries have won, as things stand."""
        return len(self._judged()[0])

    def learn(
        self,
        id: str,
        score: float | None,
        *,
        standard_error: float | None = None,
        again: bool = False,
    ) -> None:
        """Take in what became of a suggestion.

        Args:
            id: The suggestion's.
            score: Its score; None: it failed.
            standard_error: Of the score, if known.
            again: Whether it had failed before.
        """
        loss = math.inf if score is None else self._sign * score
        if id in self._tried:
            self._losses[id] = loss + (standard_error or 0.0)
        elif not again and len(self._own_losses) < NUM_JUDGES:
            self._own_losses.append(loss)

    def _judged(self) -> tuple[list[Entry], list[Entry]]:
        """Return the entries that have won, and those that have lost."""
        won: list[Entry] = []
        lost: list[Entry] = []
        if self._own_losses:
            ordered = sorted(self._own_losses)
            median = ordered[len(ordered) // 2]
            for id_, loss in self._losses.items():
                (won if loss <= median and loss < math.inf else lost).append(self._tried[id_])
        return won, lost


def _key(config: Config) -> _Key:
    return (*sorted(zip(config, typed(config.values()), strict=True)),)

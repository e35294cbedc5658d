"""How a search begins: with good earlier configurations, as long as they do well."""

import math
from collections.abc import Sequence

from rayfold.results import Config, Mode
from rayfold.search.portfolio import Entry
from rayfold.space.values import typed

CREDIT = 2
"""Number of entries that may be tried beyond twice the number of winners."""

ENTRIES_PER_OWN = 3
"""Number of entries that may be tried for each of the searcher's own configurations."""

NUM_JUDGES = 8
"""Number of the searcher's own first scores that entries are compared with."""

_Key = tuple[object, ...]


class Opening:
    """Says when the next entry of a portfolio is due, and when earlier studies mislead.

    An entry is an earlier configuration. The order is: one entry, one configuration of the
    searcher's own, then up to ``ENTRIES_PER_OWN`` entries for each of its own.

    * An entry *wins* if its score is better than the median of the searcher's own first scores by
      its standard error (or as good, if there is none). It loses otherwise. It gains nothing when
      every score is at chance level. All entries are judged again with every own score.
    * No more entries are tried while losers and entries without a verdict outnumber the winners by
      ``CREDIT``.
    * No entry is tried from a study of whose entries more have lost than won.

    Misleading studies therefore cost ``CREDIT`` trials, however many trials run at once.

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
        """The entry to try next; None if it is the searcher's own turn."""
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
        """Note that the due entry was suggested."""
        entry = self.due
        assert entry is not None
        self._left.remove(entry)
        self._tried[id] = entry

    def note_own(self, config: Config) -> None:
        """Note the searcher's own suggestion; no entry repeats it."""
        self._num_own += 1
        if self._left:
            self._left = [entry for entry in self._left if _key(entry.config) != _key(config)]

    @property
    def num_won(self) -> int:
        """Number of entries that have won so far."""
        return len(self._judged()[0])

    def learn(
        self,
        id: str,
        score: float | None,
        *,
        standard_error: float | None = None,
        again: bool = False,
    ) -> None:
        """Learn the result of a suggestion.

        Args:
            id: Id of the suggestion.
            score: Its score; None: it failed.
            standard_error: Standard error of the score, if known.
            again: Whether it had failed before.
        """
        loss = math.inf if score is None else self._sign * score
        if id in self._tried:
            self._losses[id] = loss + (standard_error or 0.0)
        elif not again and len(self._own_losses) < NUM_JUDGES:
            self._own_losses.append(loss)

    def _judged(self) -> tuple[list[Entry], list[Entry]]:
        """Return the winning and the losing entries."""
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

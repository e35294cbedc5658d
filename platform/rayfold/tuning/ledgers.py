"""The ledgers of studies that share a pool; their trials take turns."""

from collections import deque
from collections.abc import Iterator, Mapping

from rayfold.results import Trial
from rayfold.tuning.ledger import Ledger


class Ledgers(Mapping[str, Ledger]):
    """Gives out the trials of one or several studies in turn.

    Each study has its own ledger and journal for its results. So a study is the same whether it
    resumes alone or beside others.

    Args:
        ledgers: The ledger of each study, by its name; the first one begins.
    """

    def __init__(self, ledgers: Mapping[str, Ledger]) -> None:
        self._ledgers = dict(ledgers)
        self._turns = deque(self._ledgers)

    def __getitem__(self, study: str) -> Ledger:
        return self._ledgers[study]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ledgers)

    def __len__(self) -> int:
        return len(self._ledgers)

    def next_trial(self) -> tuple[str, Trial] | None:
        """Return a study and its next trial; None while no searcher has one.

        A study whose searcher waits for results or has ended is skipped.
        """
        for _ in range(len(self._turns)):
            study = self._turns[0]
            self._turns.rotate(-1)
            trial = self._ledgers[study].next_trial()
            if trial is not None:
                return study, trial
        return None

    @property
    def exhausted(self) -> bool:
        """Whether there will be no further trial."""
        return all(ledger.exhausted for ledger in self.values())

    def close(self) -> None:
        """Give out no more trials in this run; may be called from any thread."""
        for ledger in self.values():
            ledger.close()

    @property
    def num_trials(self) -> int:
        """Largest number of trials of all studies."""
        return sum(ledger.num_trials for ledger in self.values())

    @property
    def num_folds_done(self) -> int:
        """How many folds have been trained, over all trials of all studies."""
        return sum(ledger.num_folds_done for ledger in self.values())

    def group_ready(self, group: int, *, node: str, at: float) -> None:
        """Record when a group was ready, for all studies; may be called from any thread."""
        for ledger in self.values():
            ledger.group_ready(group, node=node, at=at)

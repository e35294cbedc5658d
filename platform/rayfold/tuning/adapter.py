"""Makes a study's ledger, and so any of our searchers, a searcher of Ray Tune."""

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher as TuneSearcher

from rayfold.results import FoldResult
from rayfold.tuning.ledger import Ledger


class SearcherAdapter(TuneSearcher):
    """Hands the ledger's trials to Ray Tune, and Ray Tune's results to the ledger.

    Everything happens in the driver's thread that runs Tune's loop.

    Args:
        ledger: What the study knows.
        release: Gives the groups of a trial back (an id of ours, not of Tune's).
        on_change: Called after anything was booked.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        release: Callable[[str], None],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._ledger, self._release, self._on_change = ledger, release, on_change
        self._ids: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        """Return the configuration for Tune's trial ``trial_id``; None: ask again later."""
        trial = self._ledger.next_trial()
        if trial is None:
            return TuneSearcher.FINISHED if self._ledger.exhausted else None
        self._ids[trial_id] = trial.id
        self._on_change()
        return {"trial": trial.id, "hyperparameters": dict(trial.config)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Book the folds that this step has finished."""
        self._book_folds(self._ids[trial_id], result)
        self._on_change()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Book the last step's folds, and how the trial ended.

        Tune does not pass a trial's last result to ``on_trial_result``.
        """
        trial = self._ids.pop(trial_id)
        self._release(trial)
        result = result or {}
        self._book_folds(trial, result)
        if result.get("interrupted") or (error and self._ledger.closed):
            return  # it has no end in the journal, and so the next run takes it up again
        if error or result.get("error"):
            text = result.get("error") or "the trial's actor died; Ray's logs tell why."
            self._ledger.trial_finished(trial, "failed", error=text)
        elif result.get("complete"):
            self._ledger.trial_finished(trial, "completed")
        else:
            self._ledger.trial_finished(trial, "stopped")
        self._on_change()

    def _book_folds(self, trial: str, result: dict[str, Any]) -> None:
        for fold in result.get("folds", ()):
            self._ledger.fold_finished(trial, FoldResult.from_dict(fold))

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher for a resume that we never use; the journal stays here."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the journal holds everything, and resuming replays it."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing, for the same reason."""

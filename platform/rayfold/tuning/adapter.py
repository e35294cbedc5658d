"""The ledgers of studies in one pool as a searcher and a scheduler of Ray Tune.

Everything runs in the driver's thread of Tune's loop. Tune passes each result of a trial to the
scheduler first. It passes the last result and the end of the trial to both.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher as TuneSearcher

from rayfold.results import FoldResult
from rayfold.schedulers import Decision
from rayfold.tuning.ledger import Ledger
from rayfold.tuning.ledgers import Ledgers

Release: TypeAlias = Callable[[str, str], None]
"""Gives back the groups of a trial, which is named by its study and its id."""

OnFault: TypeAlias = Callable[[str | None], None]
"""Called after each step with the fault of the machine that it has met; None: it succeeded."""


class SearcherAdapter(TuneSearcher):
    """Passes the ledgers' trials to Ray Tune, and their ends to the ledgers.

    Args:
        ledgers: The ledgers of the studies.
        release: Gives back the groups of a trial.
        on_change: Called after anything was recorded.
        on_fault: Called after each trial's last step.
        on_loss: Called with a message when a trial's actor cannot be kept alive.
        has_room: If trials take turns, tells whether another trial may start; None: Tune limits
            them.
    """

    def __init__(
        self,
        ledgers: Ledgers,
        *,
        release: Release,
        on_change: Callable[[], None] = lambda: None,
        on_fault: OnFault = lambda fault: None,
        on_loss: Callable[[str], None] = lambda text: None,
        has_room: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__()
        self._ledgers, self._release, self._on_change = ledgers, release, on_change
        self._on_fault, self._on_loss, self._has_room = on_fault, on_loss, has_room
        self._ids: dict[str, tuple[str, str]] = {}

    def suggest(self, trial_id: str) -> Any:
        """Return the configuration for Tune's trial ``trial_id``; None: ask again later."""
        if self._has_room is not None and not self._has_room():
            return None
        found = self._ledgers.next_trial()
        if found is None:
            # Tune keeps no actor for paused trials once its searcher has finished
            turns = self._has_room is not None and bool(self._ids)
            return TuneSearcher.FINISHED if self._ledgers.exhausted and not turns else None
        study, trial = found
        self._ids[trial_id] = study, trial.id
        self._on_change()
        return {
            "study": study,
            "trial": trial.id,
            "lineage": trial.lineage,
            "warm": trial.warm,
            "control": trial.control,
            "hyperparameters": dict(trial.config),
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: the scheduler has recorded it."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record the last step's folds, and how the trial ended.

        Tune does not pass a trial's last result to ``on_trial_result``. No model runs in a trial's
        actor, so its death is never an error of the configuration: the trial then has no end.
        """
        study, trial = self._ids.pop(trial_id)
        self._release(study, trial)
        ledger, result = self._ledgers[study], result or {}
        book(ledger, trial, result)
        if error and not ledger.closed:
            self._on_loss(f"the actor of trial {trial} died again and again; Ray's logs tell why")
        if error or result.get("interrupted") or (result.get("fault") and ledger.closed):
            return  # it has no end in the journal, and so the next run takes it up again
        self._on_fault(result.get("fault"))
        if result.get("error"):
            ledger.trial_finished(trial, "failed", error=result["error"])
        elif result.get("complete"):
            ledger.trial_finished(trial, "completed")
        else:
            ledger.trial_finished(trial, "stopped")
        self._on_change()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher for a resume that we never use; the journal stays here."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the journal holds everything, and resuming replays it."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing, for the same reason."""


class SchedulerAdapter(FIFOScheduler):
    """Records the result of each step of a trial, and stops trials when their ledger says so.

    Args:
        ledgers: The ledgers of the studies.
        release: Gives back the groups of a trial.
        on_change: Called after anything was recorded.
        on_fault: Called after each step.
        tune_scheduler: A scheduler of Ray Tune that decides on the other trials, with the metric
            ``score``; None: they continue.
        pauses_with_groups: Whether a trial that this scheduler pauses holds groups and must give
            them back.
    """

    def __init__(
        self,
        ledgers: Ledgers,
        *,
        release: Release,
        on_change: Callable[[], None] = lambda: None,
        on_fault: OnFault = lambda fault: None,
        tune_scheduler: TrialScheduler | None = None,
        pauses_with_groups: bool = True,
    ) -> None:
        super().__init__()
        self._ledgers, self._release, self._on_change = ledgers, release, on_change
        self._on_fault = on_fault
        self._inner = tune_scheduler or FIFOScheduler()
        self._pauses_with_groups = pauses_with_groups
        self._pausing: dict[str, TuneTrial] = {}

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Forward a new trial."""
        self._inner.on_trial_add(tune_controller, trial)

    def on_trial_result(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> str:
        """Record the results of this step, and decide."""
        ledger = self._ledgers[trial.config["study"]]
        decision = book(ledger, trial.config["trial"], result)
        self._on_change()
        self._on_fault(result.get("fault"))
        if decision == "stop" or (result.get("fault") and ledger.closed):
            return str(TrialScheduler.STOP)
        if result.get("fault"):
            return str(TrialScheduler.CONTINUE)
        if result.get("score") is None and not result.get("diverged"):
            return str(TrialScheduler.CONTINUE)
        action = str(self._inner.on_trial_result(tune_controller, trial, result))
        if action == TrialScheduler.PAUSE and self._pauses_with_groups:
            self._pausing[trial.trial_id] = trial
        return action

    def on_trial_complete(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> None:
        """Forward the end of a trial; one without a score counts as an error."""
        if result.get("score") is None:
            self._inner.on_trial_error(tune_controller, trial)
        else:
            self._inner.on_trial_complete(tune_controller, trial, result)

    def on_trial_error(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Forward the death of a trial's actor."""
        self._inner.on_trial_error(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Forward the end of a waiting or paused trial."""
        self._inner.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        """Take the groups from paused trials, and choose the next trial."""
        for id_, trial in list(self._pausing.items()):
            if trial.status == TuneTrial.PAUSED:
                del self._pausing[id_]
                self._release(trial.config["study"], trial.config["trial"])
        return self._inner.choose_trial_to_run(tune_controller)

    def debug_string(self) -> str:
        """Return a text for Tune's reports."""
        return str(self._inner.debug_string())

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its scheduler for a resume that we never use."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the journal holds everything, and resuming replays it."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing, for the same reason."""


def book(ledger: Ledger, trial: str, result: dict[str, Any]) -> Decision:
    """Record the results of a trial's step; return the ledger's last decision."""
    decision: Decision = "go on"
    if result.get("epoch_scores"):
        scores = [(int(fold), float(score)) for fold, score in result["epoch_scores"]]
        decision = ledger.epoch_finished(trial, result["epoch"], scores)
    for fold in result.get("folds", ()):
        decision = ledger.fold_finished(trial, FoldResult.from_dict(fold))
    return decision

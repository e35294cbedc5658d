"""Replays of a schedule: each trial continues from its own states with the next values."""

from typing import Any

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from rayfold.schedulers import Replay
from rayfold.tuning.exploits import Exploiter


class ReplayScheduler(FIFOScheduler):
    """Changes the values of every trial at the epochs of a schedule.

    Args:
        replay: The schedule.
        exploiter: Carries out the changes: each trial copies itself.
    """

    def __init__(self, replay: Replay, exploiter: Exploiter) -> None:
        super().__init__()
        self._schedule, self._exploiter = replay.schedule, exploiter

    def on_trial_result(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> str:
        """Change values when it is time; the trial's lineage counts the changes.

        A trial that diverges ends, since there is no other trial to continue from.
        """
        if result.get("diverged"):
            return str(TrialScheduler.STOP)
        step, epoch = trial.config["lineage"] + 1, result["epoch"]
        if step >= len(self._schedule) or self._schedule[step][0] != epoch:
            return str(TrialScheduler.CONTINUE)
        states = self._exploiter.copy(trial, trial, epoch)
        if states is None:
            return str(TrialScheduler.CONTINUE)
        before, values = trial.config["hyperparameters"], dict(self._schedule[step][1])
        tune_controller.pause_trial(trial, should_checkpoint=False)
        trial.set_config({**trial.config, "lineage": step, "hyperparameters": values})
        self._exploiter.commit(
            trial, trial, epoch=epoch, donor_values=before, result=result, states=states
        )
        return str(TrialScheduler.NOOP)

    def on_trial_complete(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> None:
        """Remove what is no longer needed."""
        self._exploiter.finished(trial, result)

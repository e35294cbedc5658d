"""A trial for Ray Tune: an actor that computes nothing and gives its folds to groups."""

import json
import math
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from ray.tune import PlacementGroupFactory, Trainable

from rayfold.groups.client import DispatcherClient
from rayfold.jobs import FoldJob, FoldOrder, FoldOutcome
from rayfold.results import mean_and_standard_error

POINTER = "folds.json"

RETRY_SECONDS = 5.0
"""Seconds that a trial waits after a fault of the machine before it tries again."""


TRIAL_MEMORY = 125e6
"""Bytes of a trial's actor, mostly Ray Tune itself (measured)."""


def trial_resources(avoid: Sequence[str] = ()) -> PlacementGroupFactory:
    """Return the resources that Tune reserves for a trial: its actor's memory and no CPU.

    A trial computes nothing. Tune refuses an empty bundle. Even a small share of a CPU would not
    be free if the groups hold every core. Ray chooses the node with the most unreserved memory, so
    trials spread over the nodes.

    Args:
        avoid: Ids of nodes without groups, where no trial should be.
    """
    if not avoid:
        return PlacementGroupFactory([{"memory": TRIAL_MEMORY}])
    elsewhere = {"ray.io/node-id": f"!in({','.join(avoid)})"}
    return PlacementGroupFactory([{"memory": TRIAL_MEMORY}], bundle_label_selector=[elsewhere])


class TrialRunner(Trainable):
    """Cross-validates one configuration on groups of the pool; reused for several trials.

    *In turn*: a step ends when a fold is complete. As many folds train at once as the trial has
    groups. ``jobs_ahead`` more jobs wait, so that no group is idle while Tune computes. If a
    scheduler judges each fold, it should be 0, since the next fold may not be wanted.

    *Together*: a step trains one epoch of all folds and reports their mean, so that schedulers
    compare trials epoch by epoch.

    Each step reports ``score`` and ``standard_error`` over the folds so far, ``num_folds``, and
    the newly finished ``folds``. A step of an ``epoch`` also reports ``epoch_scores``, pairs of
    fold and score. The last step reports ``complete``, ``error`` or ``interrupted``. A step that
    met a ``fault`` of the machine reports it; the next step waits a little and tries again.

    Together with ``milestones``: after these epochs every fold writes its state. The trial gives
    its groups back and requests groups again, so trials take turns, and a paused trial holds none.
    If the folds of such a trial already have checkpoints, it begins with the last epoch that all
    of them have reached. A trial that diverges reports ``error`` and ``diverged`` when all its
    folds are idle. The scheduler then decides whether it continues.

    A trial that has held groups for ``max_seconds`` ends and keeps what it has: groups end after
    their epoch.
    """

    def setup(
        self,
        config: dict[str, Any],
        *,
        dispatcher: DispatcherClient,
        num_folds: int,
        epochs: int,
        order: FoldOrder,
        groups_per_trial: int,
        metric: str,
        jobs_ahead: int = 1,
        max_seconds: float | None = None,
        milestones: Collection[int] = (),
    ) -> None:
        """Take the study's constants, then the first configuration."""
        self._dispatcher = dispatcher
        self._num_folds, self._epochs, self._order = num_folds, epochs, order
        self._groups_per_trial, self._metric = groups_per_trial, metric
        self._jobs_ahead = jobs_ahead
        self._max_seconds = math.inf if max_seconds is None else max_seconds
        self._milestones = frozenset(milestones)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in the same process."""
        self._study: str = new_config["study"]
        self._trial: str = new_config["trial"]
        self._hyperparameters = new_config["hyperparameters"]
        self._lineage: int = new_config.get("lineage", 0)
        self._warm: bool = new_config.get("warm", False)
        self._control: int | None = new_config.get("control")
        self._num_groups = 0
        self._deadline = math.inf
        self._faulty = False
        self._scores: dict[int, float] = {}
        self._finished: set[int] = set()
        self._epoch = 0
        self._to_submit = list(range(self._num_folds))
        self._num_submitted = 0
        return True

    def step(self) -> dict[str, Any]:
        """Train until there is something to report."""
        if not self._num_groups:
            wanted = min(self._groups_per_trial, self._num_folds)
            self._num_groups = self._dispatcher.acquire(self._study, self._trial, wanted)
            if not self._num_groups:
                return {"interrupted": True, "done": True}
            self._deadline = time.monotonic() + self._max_seconds
        if self._faulty:
            self._sit_out()
        report = self._step_epoch() if self._order == "together" else self._step_in_turn()
        self._faulty = bool(report.get("fault"))
        report["done"] = report["done"] or self._time_left <= 0
        if report["done"]:
            self._release()
        return report

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Let every fold write its state, unless it just has, and record its epoch.

        The states stay in the study's folder, where folds find the newest one.
        """
        if self._order == "together" and self._num_groups and 0 < self._epoch < self._epochs:
            self._submit(range(self._num_folds), self._epoch, save=True)
            while _fault_of(self._wait_all(self._num_folds)):
                self._sit_out()
                self._submit(range(self._num_folds), self._epoch, save=True)
        write_pointer(Path(checkpoint_dir), self._trial, self._epoch)

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Continue after an epoch of the trial, or of the trial whose states it has copied."""
        pointer = json.loads((Path(checkpoint_dir) / POINTER).read_text())
        self._epoch = pointer["epoch"]

    def cleanup(self) -> None:
        """Give the groups back when Tune ends the actor.

        Tune may start an actor for a trial and then run the trial on another actor. The first one
        must not give back the groups of the second.
        """
        if self._num_groups:
            self._release()

    def _step_in_turn(self) -> dict[str, Any]:
        room = self._num_groups + self._jobs_ahead - self._num_submitted
        now, self._to_submit = self._to_submit[:room], self._to_submit[room:]
        self._submit(now, self._epochs)
        self._num_submitted += len(now)
        outcomes = self._wait()
        self._num_submitted -= len(outcomes)
        if not outcomes:
            return self._report_silence()
        for outcome in outcomes:
            if outcome.error is None and outcome.result is None:  # ended early: go on later
                self._to_submit.insert(0, outcome.job.fold)
        return self._report(outcomes)

    def _step_epoch(self) -> dict[str, Any]:
        """Train one epoch of all folds."""
        outcomes = self._train_epoch()
        if self._milestones and _all_well(outcomes, self._num_folds):
            reached = min(outcome.epoch for outcome in outcomes)
            if reached > self._epoch + 1:  # folds of an earlier run: go on where they stopped
                self._epoch = reached - 1
                outcomes = self._train_epoch()
        if not any(map(self._is_fatal, outcomes)):
            if fault := _fault_of(outcomes):
                return {"score": None, "fault": fault, "done": False}
            if len(outcomes) < self._num_folds:
                return self._report_silence()
            if errors := [outcome.error for outcome in outcomes if outcome.error]:
                return self._report_divergence(errors[0])
        self._epoch += 1
        if self._epoch in self._milestones and _all_well(outcomes, self._num_folds):
            self._release()
        for outcome in outcomes:
            if outcome.error is None:
                self._scores[outcome.job.fold] = outcome.metrics[self._metric]
        return self._report(outcomes, epoch_scores=sorted(self._scores.items()))

    def _train_epoch(self) -> list[FoldOutcome]:
        epoch = self._epoch + 1
        self._submit(range(self._num_folds), epoch, save=epoch in self._milestones)
        return self._wait_all(self._num_folds)

    def _sit_out(self) -> None:
        """Wait for some time, which does not count for the trial."""
        time.sleep(RETRY_SECONDS)
        self._deadline += RETRY_SECONDS

    def _report_divergence(self, error: str) -> dict[str, Any]:
        """Give the groups back; the scheduler decides whether the trial continues."""
        self._release()
        return {"score": None, "error": error, "diverged": True, "done": False}

    def _report_silence(self) -> dict[str, Any]:
        """Report that no outcome came: the trial's time is over, or the study is interrupted."""
        if self._time_left <= 0:
            return self._report([])
        return {"interrupted": True, "done": True}

    def _report(
        self, outcomes: list[FoldOutcome], *, epoch_scores: Sequence[tuple[int, float]] = ()
    ) -> dict[str, Any]:
        folds = [outcome.result for outcome in outcomes if outcome.result is not None]
        self._finished |= {fold.fold for fold in folds}
        if self._order == "in_turn" and folds:
            self._scores |= {fold.fold: fold.score for fold in folds}
            epoch_scores = ()
        errors = [outcome.error for outcome in outcomes if outcome.error]
        scores = [score for _, score in sorted(self._scores.items())]
        mean, standard_error = mean_and_standard_error(scores) if scores else (None, None)
        trained = self._epoch >= self._epochs or self._order == "in_turn"
        complete = trained and len(self._finished) == self._num_folds
        return {
            "score": mean,
            "standard_error": standard_error,
            "num_folds": len(scores),
            "epoch": self._epoch if epoch_scores else self._epochs,
            "epoch_scores": epoch_scores,
            "folds": [fold.to_dict() for fold in folds],
            "error": errors[0] if errors else None,
            "fault": _fault_of(outcomes),
            "complete": complete and not errors,
            "done": complete or bool(errors),
        }

    def _submit(self, folds: Iterable[int], until_epoch: int, *, save: bool = False) -> None:
        jobs = [
            FoldJob(
                study=self._study,
                trial=self._trial,
                config=self._hyperparameters,
                fold=fold,
                until_epoch=until_epoch,
                save=save,
                lineage=self._lineage,
                warm=self._warm and fold != self._control,
            )
            for fold in folds
        ]
        self._dispatcher.submit(self._study, self._trial, jobs)

    def _release(self) -> None:
        self._dispatcher.release(self._study, self._trial)
        self._num_groups = 0

    def _wait_all(self, number: int) -> list[FoldOutcome]:
        """Wait for ``number`` outcomes; fewer after a fatal one, or if no more come."""
        outcomes: list[FoldOutcome] = []
        while len(outcomes) < number:
            new = self._wait()
            outcomes += new
            if not new or any(map(self._is_fatal, new)):
                break
        return outcomes

    def _is_fatal(self, outcome: FoldOutcome) -> bool:
        """Tell whether an error ends the trial, whatever the scheduler decides."""
        return outcome.error is not None and not (outcome.diverged and self._milestones)

    def _wait(self) -> list[FoldOutcome]:
        """Wait for outcomes; none if the trial's time is over or the study is interrupted."""
        left = None if self._deadline == math.inf else max(0.0, self._time_left)
        return self._dispatcher.wait(self._study, self._trial, left)

    @property
    def _time_left(self) -> float:
        return self._deadline - time.monotonic()


def write_pointer(folder: Path, trial: str, epoch: int) -> None:
    """Write a checkpoint of Tune: the epoch after which the trial resumes."""
    (folder / POINTER).write_text(json.dumps({"trial": trial, "epoch": epoch}))


def _all_well(outcomes: Sequence[FoldOutcome], number: int) -> bool:
    return len(outcomes) == number and not any(out.error or out.fault for out in outcomes)


def _fault_of(outcomes: Sequence[FoldOutcome]) -> str | None:
    """Return the first fault of the machine among outcomes, or None."""
    return next((outcome.fault for outcome in outcomes if outcome.fault), None)

"""A population whose members really train, on a clock that is simulated.

The schedule of values within a training cannot be tabulated. So the members train one after
another in this process, epoch by epoch; Ray Tune's scheduler decides who copies whom as it does in
a study, with the same files and the same journal; and an event queue tells when each epoch would
end on so many nodes. Ray itself is not started.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from digits import Digits
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import TrialScheduler

from rayfold.jobs import FoldJob
from rayfold.journal import Journal
from rayfold.results import Config
from rayfold.schedulers import Population
from rayfold.search import Random
from rayfold.space import SearchSpace
from rayfold.training import FoldRun, SingleProcess
from rayfold.training.metrics import load_metrics
from rayfold.tuning.exploits import Exploiter
from rayfold.tuning.ledger import Ledger
from rayfold.tuning.population import population_scheduler


@dataclass(frozen=True)
class PopulationRun:
    """What became of a population.

    Attributes:
        seconds: When a member first reached the threshold; None: none has.
        epoch: Epochs that this member was trained by then; else of the longest training.
        num_epochs: Epochs that all members had reported by then.
        accuracy: The best of all epochs, those under way by then included.
        num_exploits: How often a member had copied another by then.
    """

    seconds: float | None
    epoch: int
    num_epochs: int
    accuracy: float
    num_exploits: int


def train_population(
    digits: Digits,
    space: SearchSpace,
    *,
    num_nodes: int,
    num_members: int,
    epochs: int,
    threshold: float,
    step_seconds: Callable[[Config], float],
    random_seed: int,
) -> PopulationRun:
    """Train a population until a member reaches an accuracy, compared after every epoch.

    Args:
        digits: What is trained on.
        space: Where the members' first values are drawn, and changed values stay.
        num_nodes: How many members train at the same time; more take turns.
        num_members: Size of the population.
        epochs: Epochs of each member at most.
        threshold: The accuracy that ends it.
        step_seconds: What an epoch of a configuration takes on the simulated clock.
        random_seed: Seed of values, copies and weights.
    """
    torch.set_num_threads(1)
    load_metrics()
    random.seed(random_seed)
    np.random.seed(random_seed)  # Ray Tune draws from these
    with (
        TemporaryDirectory() as folder,
        Journal.open(Path(folder) / "journal.jsonl") as journal,
    ):
        searcher, population = Random(random_seed=random_seed), Population()
        searcher.start(space, mode="max")
        population.start(mode="max", num_folds=1, epochs=epochs)
        ledger = Ledger(searcher, journal, num_trials=num_members, scheduler=population)
        exploiter = Exploiter(ledger, Path(folder), num_folds=1)
        scheduler = population_scheduler(population, exploiter, space=space, at_once=num_nodes)
        setup = digits.setup(Path(folder), epochs=epochs, random_seed=random_seed)

        def begin(job: FoldJob) -> FoldRun:
            return FoldRun(job, setup=setup, data=digits.data, collective=SingleProcess())

        return _SimulatedPopulation(
            scheduler, exploiter, begin=begin, step_seconds=step_seconds, epochs=epochs
        ).run(threshold)


class _SimulatedPopulation:
    """Stands in for Ray Tune's controller: starts, pauses and ends the members."""

    def __init__(
        self,
        scheduler: Any,
        exploiter: Exploiter,
        *,
        begin: Callable[[FoldJob], FoldRun],
        step_seconds: Callable[[Config], float],
        epochs: int,
    ) -> None:
        self._scheduler, self._exploiter, self._ledger = scheduler, exploiter, exploiter.ledger
        self._begin, self._step_seconds, self._epochs = begin, step_seconds, epochs
        self._trials: list[TuneTrial] = []
        self._runs: dict[tuple[str, int], FoldRun] = {}  # by trial and lineage
        self._events: list[tuple[float, int, TuneTrial]] = []
        self._num_begun = 0

    def run(self, threshold: float) -> PopulationRun:
        """Go from event to event until the threshold is reached or everybody has ended."""
        best, longest, num_epochs = 0.0, 0, 0
        self._fill(0.0)
        while self._events:
            now, _, trial = heapq.heappop(self._events)
            score, epoch = self._train_epoch(trial)
            best, longest, num_epochs = (
                max(best, score or 0.0),
                max(epoch, longest),
                num_epochs + 1,
            )
            if best >= threshold:
                exploits = self._num_exploits
                under_way = [self._train_epoch(other)[0] or 0.0 for *_, other in self._events]
                return PopulationRun(now, epoch, num_epochs, max(best, *under_way, 0.0), exploits)
            self._report(trial, epoch, score)
            if trial.status == TuneTrial.RUNNING:
                self._begin_epoch(trial, now)
            self._fill(now)
        return PopulationRun(None, longest, num_epochs, best, self._num_exploits)

    def get_trials(self) -> list[TuneTrial]:
        """Return all members."""
        return self._trials

    def pause_trial(self, trial: TuneTrial, should_checkpoint: bool = True) -> None:
        """Pause one that copies another."""
        trial.set_status(TuneTrial.PAUSED)

    def _schedule_trial_save(self, trial: TuneTrial, result: dict[str, Any]) -> Any:
        """Say where a state is: it has been written before it was reported."""
        return self._exploiter.pointer(trial, result["epoch"])

    @property
    def _num_exploits(self) -> int:
        return sum(trial.config["lineage"] for trial in self._trials)

    def _fill(self, now: float) -> None:
        """Give free nodes to members that wait, new ones first."""
        while self._scheduler.has_room():
            trial = self._new() or self._scheduler.choose_trial_to_run(self)
            if trial is None:
                return
            self._begin_epoch(trial, now)

    def _new(self) -> TuneTrial | None:
        drawn = self._ledger.next_trial()
        if drawn is None:
            return None
        values = {"trial": drawn.id, "lineage": 0, "hyperparameters": dict(drawn.config)}
        trial = TuneTrial("member", config=values, trial_id=drawn.id, stub=True)
        self._trials.append(trial)
        self._scheduler.on_trial_add(self, trial)
        return trial

    def _begin_epoch(self, trial: TuneTrial, now: float) -> None:
        """Plan when an epoch will be done; it is trained when that comes."""
        trial.set_status(TuneTrial.RUNNING)
        self._num_begun += 1
        end = now + self._step_seconds(trial.config["hyperparameters"])
        heapq.heappush(self._events, (end, self._num_begun, trial))

    def _train_epoch(self, trial: TuneTrial) -> tuple[float | None, int]:
        """Train an epoch, and return the score, if it did not diverge, and how many there were."""
        run = self._run(trial)
        try:
            run.advance(self._task(trial, run.epoch + 1))
        except FloatingPointError:
            return None, run.epoch
        return run.history[-1]["val_accuracy"], run.epoch

    def _run(self, trial: TuneTrial) -> FoldRun:
        """Return the member's training; after a copy it begins at the state that was copied."""
        key = trial.config["trial"], trial.config["lineage"]
        if key not in self._runs:
            self._runs.pop((key[0], key[1] - 1), None)
            self._runs[key] = self._begin(self._task(trial, 0))
        return self._runs[key]

    def _task(self, trial: TuneTrial, until_epoch: int) -> FoldJob:
        return FoldJob(
            trial=trial.config["trial"],
            config=trial.config["hyperparameters"],
            fold=0,
            until_epoch=until_epoch,
            save=True,
            lineage=trial.config["lineage"],
        )

    def _report(self, trial: TuneTrial, epoch: int, score: float | None) -> None:
        """Tell the scheduler, and do with the member what it says."""
        if score is None:
            trial.set_status(TuneTrial.ERROR)  # it leaves the population
            return
        scores = [(0, score)]
        self._ledger.epoch_finished(trial.config["trial"], epoch, scores)
        complete = epoch == self._epochs
        result = {"epoch": epoch, "score": score, "epoch_scores": scores, "complete": complete}
        if complete:
            trial.set_status(TuneTrial.TERMINATED)
            self._scheduler.on_trial_complete(self, trial, result)
        elif self._scheduler.on_trial_result(self, trial, result) == TrialScheduler.PAUSE:
            trial.set_status(TuneTrial.PAUSED)

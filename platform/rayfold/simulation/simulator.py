"""An event queue in place of a cluster: the searcher is real, groups and clocks are not.

One driver and N groups. The driver does one thing at a time: it books a result that has come in
(``observe``, at a trial's end), else it asks for one more trial (``suggest``) while there is room.
Trials wait for groups first come first served, take all the groups that they ask for or none,
train their folds in turn and give the groups back with their last fold, as the dispatcher has it.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from rayfold.errors import DataError, RecipeError
from rayfold.results import MAX_COUNT, Mode, Status, mean_and_standard_error
from rayfold.schedulers import Scheduler
from rayfold.search import Suggestion
from rayfold.simulation.charges import Charges
from rayfold.simulation.record import SimulatedTrial, Simulation
from rayfold.simulation.table import Table
from rayfold.space import SearchSpace
from rayfold.space.values import show

MAX_TRIALS = 1_000_000


class Asked(Protocol):
    """What a simulation needs of a searcher: ``rayfold.search.Searcher``, or one around it."""

    @property
    def space(self) -> SearchSpace:
        """What is searched."""

    @property
    def mode(self) -> Mode:
        """Whether lower scores are better, or higher ones."""

    @property
    def capacity(self) -> int | None:
        """How many configurations will be suggested in all."""

    @property
    def finished(self) -> bool:
        """Whether no more will ever be suggested."""

    def suggest(self) -> Suggestion | None:
        """Return the next configuration to try."""

    def observe(
        self,
        id: str,
        *,
        score: float | None,
        standard_error: float | None,
        num_folds: int,
        failed: bool,
    ) -> None:
        """Take in what became of one."""


def simulate(
    searcher: Asked,
    table: Table,
    *,
    num_groups: int,
    num_trials: int | None = None,
    num_folds: int = 1,
    groups_per_trial: int = 1,
    waiting_trials: int | None = None,
    max_seconds: float | None = None,
    scheduler: Scheduler | None = None,
    charges: Charges | None = None,
    random_seed: int = 0,
) -> Simulation:
    """Run a study in simulated time.

    Args:
        searcher: A started searcher of the table's space; it is used up.
        table: Scores and running times.
        num_groups: Groups that train at the same time.
        num_trials: Trials at most, up to a million; None: as many as the searcher has, or
            ``max_seconds`` allow.
        num_folds: Folds of each trial.
        groups_per_trial: Groups that a trial takes at once, at most one per fold.
        waiting_trials: Trials that are asked for before there is a group for them; None: a
            quarter of those that train at once, as in a study.
        max_seconds: No trial begins later; None: no limit.
        scheduler: A started scheduler of folds in turn, which ends weak trials early; it is used
            up. None: all folds of every trial are trained.
        charges: What is charged beside training; None: everything, as measured.
        random_seed: Seed of which repetition of a score each fold draws.

    Raises:
        RecipeError: If a number is out of range, nothing ends the study, the searcher searches
            another space, or the scheduler wants to hear of epochs.
        DataError: If the table has fewer folds than ``num_folds``.
    """
    _check_whole("num_groups", num_groups)
    _check_whole("num_folds", num_folds)
    _check_whole("groups_per_trial", groups_per_trial)
    if num_groups % groups_per_trial:
        raise RecipeError(
            f"num_groups is {num_groups}, but each trial takes {groups_per_trial} "
            "(groups_per_trial), so that some would stay idle; choose a multiple."
        )
    if searcher.space != table.space:
        raise RecipeError("the searcher searches another space than the table's; give one space.")
    if scheduler is not None and scheduler.fold_order != "in_turn":
        (name,) = scheduler.settings()
        raise RecipeError(
            f"scheduler {name} judges epochs, but the table holds whole folds; simulate racing."
        )
    if num_trials is not None and num_trials > MAX_TRIALS:
        raise RecipeError(
            f"num_trials must be at most {MAX_TRIALS:,} in a simulation, got {show(num_trials)}; "
            "lower it (search.num_trials in a recipe)."
        )
    limits = [limit for limit in (num_trials, searcher.capacity) if limit is not None]
    if not limits and max_seconds is None:
        raise RecipeError(
            "num_trials is missing (search.num_trials in a recipe), and this searcher never ends "
            "by itself; say how many trials, or max_seconds."
        )
    if not table.repeated and table.num_measurements < num_folds:
        raise DataError(
            f"{table.source}: it holds {table.num_measurements} folds' scores, but a trial has "
            f"{num_folds} folds; lower fixed.folds.count or repeats, or add columns."
        )
    groups_per_trial = min(groups_per_trial, num_folds)
    at_once = num_groups // groups_per_trial
    spare = max(1, at_once // 4) if waiting_trials is None else waiting_trials
    simulator = _Simulator(
        searcher,
        table,
        num_groups=num_groups,
        num_trials=min(limits) if limits else None,
        num_folds=num_folds,
        groups_per_trial=groups_per_trial,
        room=at_once + spare,
        max_seconds=max_seconds,
        scheduler=scheduler,
        charges=charges or Charges(),
        generator=np.random.default_rng([random_seed, 1]),  # not what a searcher draws
    )
    return simulator.run()


@dataclass(eq=False)
class _Trial:
    """A trial under way."""

    suggestion: Suggestion
    row: int
    exact: bool
    measurements: tuple[int, ...]
    started_at: float = 0.0
    num_submitted: int = 0
    running: dict[int, float] = field(default_factory=dict)  # fold to the start of its training
    scores: dict[int, float] = field(default_factory=dict)
    status: Status | None = None  # None until it has ended
    ended_at: float = 0.0


class _Simulator:
    def __init__(
        self,
        searcher: Asked,
        table: Table,
        *,
        num_groups: int,
        num_trials: int | None,
        num_folds: int,
        groups_per_trial: int,
        room: int,
        max_seconds: float | None,
        scheduler: Scheduler | None,
        charges: Charges,
        generator: np.random.Generator,
    ) -> None:
        self._searcher, self._table = searcher, table
        self._num_groups, self._num_trials, self._num_folds = num_groups, num_trials, num_folds
        self._groups_per_trial, self._room = groups_per_trial, room
        self._max_seconds, self._scheduler = max_seconds, scheduler
        self._charges, self._generator = charges, generator
        self._scores, self._seconds = table.scores.tolist(), table.seconds.tolist()
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._num_events = 0
        self._num_free = num_groups
        self._waiting: deque[_Trial] = deque()
        self._inbox: deque[tuple[_Trial, bool]] = deque()  # folds to book; whether the last
        self._driver_idle = True
        self._starved = False  # the searcher wants results first
        self._num_suggested = 0
        self._num_unbooked = 0
        self._driver_seconds = 0.0
        self._searcher_seconds = 0.0
        self._last_start = 0.0
        self._end = 0.0
        self._booked: list[SimulatedTrial] = []
        self._intervals: list[tuple[float, float]] = []

    def run(self) -> Simulation:
        self._wake_driver(0.0)
        while self._events:
            now, _, action, arguments = heapq.heappop(self._events)
            action(now, *arguments)
        return Simulation(
            mode=self._searcher.mode,
            num_groups=self._num_groups,
            trials=tuple(self._booked),
            seconds=self._end,
            driver_seconds=self._driver_seconds,
            searcher_seconds=self._searcher_seconds,
            last_start=self._last_start,
            intervals=np.array(self._intervals, dtype=np.float64).reshape(-1, 2),
        )

    def _at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        self._num_events += 1  # what was planned first comes first of what happens at one time
        heapq.heappush(self._events, (when, self._num_events, action, arguments))

    # The driver

    def _wake_driver(self, now: float) -> None:
        if self._driver_idle:
            self._driver_idle = False
            self._at(now, self._drive)

    def _drive(self, now: float) -> None:
        if self._inbox:
            seconds = self._book(now, *self._inbox.popleft())
        elif self._may_suggest(now):
            seconds = self._suggest(now)
        else:
            self._driver_idle = True
            return
        self._driver_seconds += seconds
        self._end = now + seconds
        self._at(self._end, self._drive)

    def _may_suggest(self, now: float) -> bool:
        return (
            not self._starved
            and self._num_unbooked < self._room
            and (self._num_trials is None or self._num_suggested < self._num_trials)
            and (self._max_seconds is None or now < self._max_seconds)
            and not self._searcher.finished
        )

    def _suggest(self, now: float) -> float:
        began = time.perf_counter()
        suggestion = self._searcher.suggest()
        seconds = self._charge(began)
        if suggestion is None:
            self._starved = True
            return seconds
        self._num_suggested += 1
        self._num_unbooked += 1
        found = self._table.find(suggestion.config)
        folds = tuple(range(self._num_folds))
        if self._table.repeated:
            drawn = self._generator.integers(self._table.num_measurements, size=self._num_folds)
            folds = tuple(drawn.tolist())
        seconds += self._charges.journal_append
        self._at(now + seconds, self._enqueue, _Trial(suggestion, found.row, found.exact, folds))
        return seconds

    def _book(self, now: float, trial: _Trial, is_last: bool) -> float:
        """Book a fold, and with the last one its trial; what follows happens afterwards."""
        seconds = self._charges.journal_append
        if is_last:
            self._goes_on(trial)
            return seconds + self._book_trial(trial)
        if self._scheduler is None or trial.status is not None:
            return seconds
        if self._goes_on(trial):
            if trial.num_submitted < self._num_folds:
                self._at(now + seconds, self._start_fold, trial)
            return seconds
        trial.status, trial.ended_at = "stopped", now
        seconds += self._book_trial(trial)
        self._at(now + seconds, self._release, trial)
        return seconds

    def _goes_on(self, trial: _Trial) -> bool:
        """Tell the scheduler what a trial has reached, and ask it."""
        if self._scheduler is None or not trial.scores:
            return True
        decision = self._scheduler.report(
            trial.suggestion.id, trial.scores, epoch=self._scheduler.epochs
        )
        return decision == "go on"

    def _book_trial(self, trial: _Trial) -> float:
        scores = [score for _, score in sorted(trial.scores.items())]
        mean, standard_error = mean_and_standard_error(scores) if scores else (None, None)
        failed = trial.status == "failed"
        began = time.perf_counter()
        self._searcher.observe(
            trial.suggestion.id,
            score=mean,
            standard_error=standard_error,
            num_folds=len(scores),
            failed=failed,
        )
        seconds = self._charge(began) + self._charges.journal_append
        self._starved = False
        self._num_unbooked -= 1
        assert trial.status is not None
        if self._scheduler is not None:
            self._scheduler.finished(trial.suggestion.id, trial.status)
        self._booked.append(
            SimulatedTrial(
                id=trial.suggestion.id,
                config=trial.suggestion.config,
                row=trial.row,
                exact=trial.exact,
                status=trial.status,
                score=None if failed else mean,
                num_folds=len(scores),
                started_at=trial.started_at,
                finished_at=trial.ended_at,
            )
        )
        return seconds

    def _charge(self, began: float) -> float:
        seconds = time.perf_counter() - began
        self._searcher_seconds += seconds
        return seconds if self._charges.searcher else 0.0

    # The groups

    def _enqueue(self, now: float, trial: _Trial) -> None:
        self._waiting.append(trial)
        self._serve(now)

    def _serve(self, now: float) -> None:
        """Give free groups to trials that wait."""
        if self._max_seconds is not None and now >= self._max_seconds:
            return
        while self._waiting and self._num_free >= self._groups_per_trial:
            trial = self._waiting.popleft()
            self._num_free -= self._groups_per_trial
            trial.started_at = self._last_start = now
            for _ in range(self._groups_per_trial):
                self._start_fold(now, trial)

    def _start_fold(self, now: float, trial: _Trial) -> None:
        if trial.status is not None:
            return
        fold = trial.num_submitted
        trial.num_submitted += 1
        start = now + self._charges.fold_start
        trial.running[fold] = start
        seconds = self._seconds[trial.row][trial.measurements[fold]]
        self._at(start + seconds, self._end_fold, trial, fold)

    def _end_fold(self, now: float, trial: _Trial, fold: int) -> None:
        if fold not in trial.running:
            return  # it was dropped with its trial
        self._intervals.append((trial.running.pop(fold), now))
        if trial.status is not None:
            return  # its end is booked and only its groups are not free yet
        score = self._scores[trial.row][trial.measurements[fold]]
        failed = score != score
        if not failed:
            trial.scores[fold] = score
        is_last = failed or len(trial.scores) == self._num_folds
        if is_last:
            trial.status = "failed" if failed else "completed"
            trial.ended_at = now
            self._release(now, trial)
        elif self._scheduler is None and trial.num_submitted < self._num_folds:
            self._start_fold(now, trial)
        self._inbox.append((trial, is_last))
        self._wake_driver(now)

    def _release(self, now: float, trial: _Trial) -> None:
        """End a trial: folds that still train are dropped, its groups are free."""
        for start in trial.running.values():
            if start < now:
                self._intervals.append((start, now))
        trial.running.clear()
        self._num_free += self._groups_per_trial
        self._serve(now)


def _check_whole(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise RecipeError(f"{name} must be a whole number of at least 1, got {show(value)}.")
    if value > MAX_COUNT:
        raise RecipeError(f"{name} must be at most {MAX_COUNT}, got {show(value)}.")

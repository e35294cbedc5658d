"""What a simulation was: its trials in simulated time, and how busy the groups were."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rayfold.results import Config, Mode, Status, Value


@dataclass(frozen=True, kw_only=True)
class SimulatedTrial:
    """One trial that came to its end; times are simulated seconds from the study's start.

    Attributes:
        id: Name within the study.
        config: The configuration.
        row: The table's row that stood for it.
        exact: Whether the row is the configuration itself.
        status: ``"completed"``, ``"stopped"`` or ``"failed"``.
        score: Mean over the folds that were trained; None if it failed.
        num_folds: How many folds were trained.
        started_at: When its first fold was given to a group.
        finished_at: When its last fold was done.
    """

    id: str
    config: Config
    row: int
    exact: bool
    status: Status
    score: float | None
    num_folds: int
    started_at: float
    finished_at: float


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A study in simulated time.

    Attributes:
        mode: Whether a small or a large score is good.
        num_groups: Groups that there were.
        trials: The trials in the order in which the driver booked them.
        seconds: Simulated seconds until everything was booked.
        driver_seconds: Seconds of these in which the driver was occupied.
        searcher_seconds: Measured seconds of all calls of ``suggest`` and ``observe``.
        last_start: When the last trial began.
        intervals: When groups trained: starts and ends, shape ``(folds, 2)``.
    """

    mode: Mode
    num_groups: int
    trials: tuple[SimulatedTrial, ...]
    seconds: float
    driver_seconds: float
    searcher_seconds: float
    last_start: float
    intervals: NDArray[np.float64] = field(repr=False)

    @property
    def utilisation(self) -> float:
        """Share of the groups' time spent in training, from the start to the very end."""
        return self._busy_share(self.seconds)

    @property
    def utilisation_until_last_start(self) -> float:
        """The same share until the last trial began: without the end, when work runs out."""
        return self._busy_share(self.last_start)

    @property
    def best(self) -> SimulatedTrial | None:
        """The completed trial with the best score, the earliest booked of equal ones."""
        improvements = self.best_over_time()
        return improvements[-1][1] if improvements else None

    def best_over_time(self) -> list[tuple[int, SimulatedTrial]]:
        """Return each completed trial that was better than all booked before it.

        Returns:
            Pairs of how many trials were booked by then, itself included, and the trial.
        """
        improvements: list[tuple[int, SimulatedTrial]] = []
        best: float | None = None
        for number, trial in enumerate(self.trials, 1):
            if trial.status != "completed" or trial.score is None:
                continue
            if best is None or (trial.score < best if self.mode == "min" else trial.score > best):
                best = trial.score
                improvements.append((number, trial))
        return improvements

    def first_to(self, threshold: float) -> tuple[int, SimulatedTrial] | None:
        """Return the first completed trial that reached a score, and how many were booked then."""
        for number, trial in self.best_over_time():
            assert trial.score is not None
            reached = trial.score <= threshold
            if reached if self.mode == "min" else trial.score >= threshold:
                return number, trial
        return None

    def best_table(self) -> pd.DataFrame:
        """Return the best score over time, a row per improvement.

        Returns:
            Columns ``seconds``, ``trials`` (booked by then), ``trial``, ``score``, then the
            hyperparameters.
        """
        rows = [
            {
                "seconds": trial.finished_at,
                "trials": number,
                "trial": trial.id,
                "score": trial.score,
                **trial.config,
            }
            for number, trial in self.best_over_time()
        ]
        names = dict.fromkeys(name for row in rows for name in row)
        return pd.DataFrame(rows, columns=list(names) or ["seconds", "trials", "trial", "score"])

    def lines(self, threshold: float) -> list[str]:
        """Return the simulation in words, a line each.

        Args:
            threshold: Score of which is told when it was reached.
        """
        count = len(self.trials)
        ended = Counter(trial.status for trial in self.trials)
        others = "".join(
            f", {ended[name]} {name}" for name in ("stopped", "failed") if ended[name]
        )
        folds = sum(trial.num_folds for trial in self.trials)
        foreign = sum(not trial.exact for trial in self.trials)
        lines = [
            f"trials       {count:,} of {folds:,} folds in all{others}",
            f"time         {self.seconds:,.1f} s on {self.num_groups:,} groups",
            f"utilisation  {self.utilisation:.3f} "
            f"({self.utilisation_until_last_start:.3f} until the last trial began)",
            f"driver       {self._share(self.driver_seconds):.3f} of the time occupied; suggest "
            f"and observe took {1e3 * self.searcher_seconds / max(1, count):.3f} ms per trial",
        ]
        reached, best = self.first_to(threshold), self.best
        if reached is None:
            lines.append(f"threshold    {threshold:.6g} was not reached")
        else:
            number, trial = reached
            lines.append(
                f"threshold    {threshold:.6g} reached after {trial.finished_at:,.1f} s, "
                f"{number:,} trials"
            )
        if best is not None:
            values = ", ".join(f"{name} {_text(value)}" for name, value in best.config.items())
            lines.append(f"best         {best.score:.6g} by trial {best.id}: {values}")
        if foreign:
            lines.append(
                f"table        {foreign:,} trials had no row of their own; the nearest stood in"
            )
        return lines

    def _share(self, seconds: float) -> float:
        return seconds / self.seconds if self.seconds else 0.0

    def _busy_share(self, until: float) -> float:
        if not until or not len(self.intervals):
            return 0.0
        starts, ends = np.minimum(self.intervals, until).T
        return float((ends - starts).sum()) / (self.num_groups * until)


def _text(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

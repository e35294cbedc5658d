"""A scheduler that drops trials which are worse than half of the others at the same epoch."""

from statistics import fmean, median
from typing import Any

from rayfold.results import Status
from rayfold.schedulers import Decision, Scheduler


class MedianStopping(Scheduler):
    """Compares the mean over the folds, epoch by epoch.

    Args:
        least: Other trials that must have come as far before one is dropped.
    """

    fold_order = "together"

    def __init__(self, *, least: int = 3) -> None:
        self._least = least

    def settings(self) -> dict[str, Any]:
        """Return the argument, as a recipe names it."""
        return {"median_stopping": {"least": self._least}}

    def _begin(self) -> None:
        self._means: dict[int, dict[str, float]] = {}

    def _decide(self, trial: str, scores: dict[int, float], epoch: int) -> Decision:
        means = self._means.setdefault(epoch, {})
        means[trial] = fmean(scores.values())
        others = [mean for other, mean in means.items() if other != trial]
        if len(others) < self._least:
            return "go on"
        return "stop" if self._is_worse(means[trial], than=median(others)) else "go on"

    def _end(self, trial: str, status: Status) -> None:
        """Keep what it has scored: others are compared with it."""

    def _reopen(self, trial: str) -> None:
        for means in self._means.values():
            means.pop(trial, None)

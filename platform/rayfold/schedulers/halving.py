"""Successive halving: few epochs for all trials, many for the good ones."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from rayfold.errors import RecipeError
from rayfold.options.arguments import checked
from rayfold.options.fields import Count, plain
from rayfold.results import Status
from rayfold.schedulers.base import Decision, Scheduler

Reduction = (
    Annotated[int, Field(strict=True, gt=1)] | Annotated[float, Field(strict=True, gt=1), plain]
)
"""A number above 1; a whole one stays whole in what is recorded."""


class Halving(Scheduler):
    """Stops a trial at a rung unless it is among the best that have reached the rung (ASHA).

    Rungs are at ``grace_epochs``, ``grace_epochs * reduction``, ``grace_epochs * reduction ** 2``
    and so on, below the study's epochs. A trial continues at a rung when its mean over the folds
    is no worse than that of the best ``1 / reduction`` of the trials that were there before. The
    first trial always continues. No trial waits for another. The decisions are those of Ray Tune's
    ``AsyncHyperBandScheduler`` with one bracket, without Ray.

    Args:
        grace_epochs: Epochs that every trial gets, at least 1.
        reduction: The share ``1 / reduction`` of the trials continues at each rung; above 1.

    Raises:
        RecipeError: If an argument is out of range.

    References:
        Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020.
    """

    fold_order = "together"

    @checked
    def __init__(self, *, grace_epochs: Count = 1, reduction: Reduction = 4) -> None:
        self._grace_epochs, self._reduction = grace_epochs, reduction

    def settings(self) -> dict[str, Any]:
        """Return ``{"halving": {"grace_epochs": 1, "reduction": 4}}``."""
        return {
            "halving": {"grace_epochs": self._grace_epochs, "reduction": self._reduction},
        }

    @property
    def rungs(self) -> tuple[float, ...]:
        """Epochs at which trials are compared, the lowest first."""
        return tuple(self._rungs)

    def _begin(self) -> None:
        self._rungs: dict[float, dict[str, float]] = {}
        self._stopped: set[str] = set()
        epoch: float = self._grace_epochs
        while epoch < self.epochs:
            self._rungs[epoch] = {}
            epoch *= self._reduction
        if not self._rungs:
            raise RecipeError(
                f"grace_epochs must be below the study's epochs, {self.epochs}, not "
                f"{self._grace_epochs}; lower it, or give the study more epochs."
            )

    def _decide(self, trial: str, scores: dict[int, float], epoch: int) -> Decision:
        reached = [rung for rung in self._rungs if rung <= epoch]
        if reached and epoch < self.epochs and trial not in self._rungs[reached[-1]]:
            score = math.fsum(scores.values()) / len(scores)
            before = self._rungs[reached[-1]]
            if before and self._is_worse(score, than=self._cutoff([*before.values()])):
                self._stopped.add(trial)
            before[trial] = score
        return "stop" if trial in self._stopped else "go on"

    def _end(self, trial: str, status: Status) -> None:
        """Keep its scores: the rungs stay as full as they were."""

    def _reopen(self, trial: str) -> None:
        self._stopped.discard(trial)
        for scores in self._rungs.values():
            scores.pop(trial, None)

    def _cutoff(self, scores: Sequence[float]) -> float:
        share = 1 / self._reduction
        return float(np.quantile(scores, share if self.mode == "min" else 1 - share))

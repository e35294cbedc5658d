"""Halving on the first fold, racing on the others."""

from typing import Any

from rayfold.results import Status
from rayfold.schedulers.base import Decision, Scheduler
from rayfold.schedulers.halving import Halving
from rayfold.schedulers.racing import Racing, Rule


class RacingHalving(Scheduler):
    """Few epochs of one fold first, all epochs of it for the good ones, all folds for the best.

    While a trial's first fold trains, ``Halving`` compares it epoch by epoch with the first fold
    of the others; once that is complete, ``Racing`` decides fold by fold.

    Args:
        rule: As for ``Racing``.
        top: As for ``Racing``; it protects from being dropped after a fold, not at a rung.
        level: As for ``Racing``.
        grace_epochs: As for ``Halving``.
        reduction: As for ``Halving``.

    Raises:
        RecipeError: If an argument is out of range.
    """

    fold_order = "in_turn"
    first_fold_by_epoch = True

    def __init__(
        self,
        *,
        rule: Rule = "matched",
        top: float = 0.1,
        level: float = 0.05,
        grace_epochs: int = 1,
        reduction: float = 4,
    ) -> None:
        self._racing = Racing(rule=rule, top=top, level=level)
        self._halving = Halving(grace_epochs=grace_epochs, reduction=reduction)

    def settings(self) -> dict[str, Any]:
        """Return ``{"racing_halving": {"rule": "matched", ..., "reduction": 4}}``."""
        racing, halving = self._racing.settings(), self._halving.settings()
        return {"racing_halving": {**racing["racing"], **halving["halving"]}}

    def _begin(self) -> None:
        for part in (self._racing, self._halving):
            part.start(
                mode=self.mode,
                num_folds=self.num_folds,
                epochs=self.epochs,
                repeats=self.repeats,
            )

    def _decide(self, trial: str, scores: dict[int, float], epoch: int) -> Decision:
        part = self._racing if epoch >= self.epochs else self._halving
        return part.report(trial, scores, epoch=epoch)

    def _end(self, trial: str, status: Status) -> None:
        self._racing.finished(trial, status)
        self._halving.finished(trial, status)

    def _reopen(self, trial: str) -> None:
        self._racing.reopen(trial)
        self._halving.reopen(trial)

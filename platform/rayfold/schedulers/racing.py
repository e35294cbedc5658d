"""Racing: a trial is dropped when its first folds show that it will not be the best."""

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from rayfold.errors import RecipeError
from rayfold.options.arguments import checked
from rayfold.options.fields import BelowOne, Fraction
from rayfold.results import Status
from rayfold.schedulers.base import Decision, Scheduler

Rule: TypeAlias = Literal["matched", "forgiving", "paired"]

Scores: TypeAlias = NDArray[np.float64]
"""The scores of one trial's folds, shape ``(folds,)``; NaN where there is none yet."""


class Racing(Scheduler):
    """Drops a trial after a fold when it is clearly worse than the incumbent.

    The incumbent is the completed trial with the best mean. Before there is one, every trial gets
    all its folds. Later, trials among the best so far (``top``) also get all folds. Trials are
    compared on the same folds only. The rule says when a trial is dropped:

    * *Matched*: on its folds so far, it is worse than the incumbent by more than the incumbent's
      worst fold is worse than its mean.
    * *Forgiving*: the mean of its folds so far is worse than the incumbent's worst fold. If all
      folds are equally hard, this agrees with *matched*. If the first fold is the hardest, it
      drops good trials.
    * *Paired*: from the second fold on, a one-sided paired t test on its folds so far finds it
      worse than the incumbent. The training rows of folds overlap. So the variance of the
      differences is multiplied by 1/n + 1/(k - 1) instead of 1/n, for n of k folds; the plain test
      would find differences that do not exist.

    Args:
        rule: ``"matched"``, ``"forgiving"`` or ``"paired"``.
        top: Share of trials that are never dropped: those with the best means on the compared
            folds. The best trial is always among them, unless ``top`` is 0.
        level: Probability, at each paired test, of dropping a trial that is as good as the
            incumbent.

    Raises:
        RecipeError: If an argument is out of range.

    References:
        Bergman, Purucker, Hutter, "Don't Waste Your Time: Early Stopping Cross-Validation",
        AutoML 2024 (forgiving). Maron, Moore, "Hoeffding Races", NIPS 1993 (racing). Nadeau,
        Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003 (the test).
    """

    fold_order = "in_turn"

    @checked
    def __init__(
        self, *, rule: Rule = "matched", top: BelowOne = 0.1, level: Fraction = 0.05
    ) -> None:
        self._rule, self._top, self._level = rule, top, level

    def settings(self) -> dict[str, Any]:
        """Return ``{"racing": {"rule": "matched", "top": 0.1, "level": 0.05}}``."""
        return {"racing": {"rule": self._rule, "top": self._top, "level": self._level}}

    @property
    def incumbent(self) -> str | None:
        """The completed trial with the best mean; ties go to the one completed first."""
        return self._incumbent

    def _begin(self) -> None:
        if self._rule == "paired" and self.num_folds < 3:
            raise RecipeError(
                "rule paired compares two folds and more before the last one; give the study at "
                f"least 3 folds, not {self.num_folds}, or choose matched."
            )
        self._rows: dict[str, int] = {}
        self._table = np.full((64, self.num_folds), np.nan)  # a row per trial, a column per fold
        self._incumbent: str | None = None

    def _decide(self, trial: str, scores: dict[int, float], epoch: int) -> Decision:
        own = self._row(trial)
        own[:] = np.nan
        own[list(scores)] = list(scores.values())
        if self._incumbent is None or len(scores) >= self.num_folds:
            return "go on"
        loses = self._loses(own, self._row(self._incumbent))
        return "stop" if loses and not self._is_at_top(own) else "go on"

    def _end(self, trial: str, status: Status) -> None:
        if trial not in self._rows:
            return
        own = self._row(trial)
        if status == "failed":
            own[:] = np.nan
        elif status == "completed":
            best = None if self._incumbent is None else self._row(self._incumbent).mean()
            if best is None or self._is_worse(best, than=own.mean()):
                self._incumbent = trial

    def _loses(self, own: Scores, incumbent: Scores) -> bool:
        """Tell whether the trial is clearly worse than the incumbent."""
        known = ~np.isnan(own)
        worst = incumbent.max() if self.mode == "min" else incumbent.min()
        if self._rule == "forgiving":
            return self._is_worse(own[known].mean(), than=worst)
        losses = (own - incumbent if self.mode == "min" else incumbent - own)[known]
        if self._rule == "matched":
            return bool(losses.mean() > abs(worst - incumbent.mean()))
        count = self.num_folds / self.repeats
        return paired_p_value(losses, correction=1 / (count - 1)) < self._level

    def _is_at_top(self, own: Scores) -> bool:
        """Tell whether the trial is among the best share ``top`` on the same folds."""
        means = self._table[: len(self._rows), ~np.isnan(own)].mean(axis=1)  # NaN: lacks a fold
        mean = own[~np.isnan(own)].mean()
        better = means < mean if self.mode == "min" else means > mean
        return bool(better.sum() < self._top * (~np.isnan(means)).sum())

    def _row(self, trial: str) -> Scores:
        """Return the trial's row; the table doubles when it is full."""
        row = self._rows.setdefault(trial, len(self._rows))
        if row == len(self._table):
            self._table = np.concatenate([self._table, np.full_like(self._table, np.nan)])
        scores: Scores = self._table[row]
        return scores


def paired_p_value(losses: Scores, *, correction: float) -> float:
    """Return the one-sided p-value of a corrected paired t test.

    Args:
        losses: How much worse one trial is than the other in each fold, shape ``(n,)``.
        correction: Validation rows of a fold divided by its training rows.

    Returns:
        The probability of such a mean loss, or a larger one, if both were equally good. It is 1
        for fewer than two folds, and 0 or 1 if all losses are equal.
    """
    if len(losses) < 2:
        return 1.0
    mean, variance = losses.mean(), losses.var(ddof=1)
    if variance == 0:
        return 0.0 if mean > 0 else 1.0
    t = mean / np.sqrt((1 / len(losses) + correction) * variance)
    return float(stdtr(len(losses) - 1, -t))

"""Which trials begin cold although weights of earlier studies are at hand."""

import math

from scipy.stats import mannwhitneyu, rankdata

from rayfold.results import Mode

COLD_FIRST = (1, 3)
"""Of the first trials, counted from 0, these begin cold: a bad past is to show early."""

COLD_EVERY = 5
"""Later on one trial in so many does, from twice that number on."""

LEVEL = 0.1
"""Chance at which cold trials, were both kinds alike, seem better: below it warm starts end."""


class ColdStarts:
    """Lets one trial in five begin cold, and all of them once that is clearly better.

    Finished trials of both kinds are compared by rank (Mann, Whitney, Annals of Mathematical
    Statistics 18, 1947, one-sided). That needs five of them at least, so that a misleading past
    costs few trials where these come one after another.

    Args:
        mode: Whether lower or higher scores are better.
    """

    def __init__(self, mode: Mode) -> None:
        self._sign = 1.0 if mode == "min" else -1.0
        self._losses: dict[bool, list[float]] = {True: [], False: []}
        self._num_trials = 0

    @property
    def is_next_warm(self) -> bool:
        """Whether the next trial begins warm. Asking changes nothing."""
        number = self._num_trials
        cold = number % COLD_EVERY == 0 if number >= 2 * COLD_EVERY else number in COLD_FIRST
        return not cold and not self.misled

    @property
    def misled(self) -> bool:
        """Whether cold trials are clearly better by now."""
        warm, cold = self._losses[True], self._losses[False]
        if not warm or not cold:
            return False
        ranks = rankdata([*warm, *cold])
        test = mannwhitneyu(ranks[: len(warm)], ranks[len(warm) :], alternative="greater")
        return bool(test.pvalue <= LEVEL + 1e-12)

    def note(self) -> None:
        """Note that a trial has begun."""
        self._num_trials += 1

    def learn(self, *, warm: bool, score: float | None) -> None:
        """Take in what became of a trial; None: it failed."""
        self._losses[warm].append(math.inf if score is None else self._sign * score)

"""Which trials, and which folds of warm ones, begin cold although weights are at hand."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import ttest_1samp

from rayfold.results import Mode

COLD_EVERY = 5
"""One trial in so many begins cold, from this number on."""

LEVEL = 0.05
"""Chance at which one kind of start seems better, were both alike (one-sided)."""

TIE = 0.005
"""Relative differences of scores below it tell nothing: where no start helps, all are alike."""


@dataclass(frozen=True)
class Beginning:
    """How a trial begins.

    Attributes:
        warm: Whether with weights of earlier studies.
        control: Of a warm trial the fold that begins cold, for comparison; None: none does.
    """

    warm: bool = False
    control: int | None = None


class ColdStarts:
    """Lets one trial in five begin cold, and all of them once that is clearly better.

    A *control* is a fold of a warm trial that begins cold: beside the other folds of the same
    configuration it shows what the weights are worth, where whole trials differ by their
    configurations much more. Warm trials have a control, each another fold, until a t-test of the
    relative differences is clear: then they need none any more, or none begins warm.

    Args:
        mode: Whether lower or higher scores are better.
        num_folds: Folds of each trial.
    """

    def __init__(self, mode: Mode, num_folds: int) -> None:
        self._sign = 1.0 if mode == "min" else -1.0
        self._num_folds = num_folds
        self._gains: list[float] = []
        self._num_trials = self._num_controls = 0

    @property
    def next(self) -> Beginning:
        """How the next trial begins. Asking changes nothing."""
        if self._num_trials % COLD_EVERY == COLD_EVERY - 1 or self.misled:
            return Beginning()
        if self._is_clear(1.0):
            return Beginning(warm=True)
        return Beginning(warm=True, control=self._num_controls % self._num_folds)

    @property
    def misled(self) -> bool:
        """Whether cold folds are clearly better by now."""
        return self._is_clear(-1.0)

    def note(self, beginning: Beginning) -> None:
        """Note that a trial has begun."""
        self._num_trials += 1
        self._num_controls += beginning.control is not None

    def learn(self, *, warm: float, control: float) -> None:
        """Take in the mean score of a trial's warm folds, and that of its control."""
        scale = max(abs(warm), abs(control))
        gain = self._sign * (control - warm) / scale if scale else 0.0
        if abs(gain) >= TIE:
            self._gains.append(gain)

    def _is_clear(self, direction: float) -> bool:
        gains = direction * np.array(self._gains)
        if len(gains) < 2 or gains.mean() <= 0:
            return False
        if np.ptp(gains) == 0:
            return True
        return bool(ttest_1samp(gains, 0.0, alternative="greater").pvalue <= LEVEL)

"""What a study returns."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from rayfold.errors import RecipeError
from rayfold.recipe import Acceptance
from rayfold.report import best_trial, trials_table
from rayfold.results import Config, Mode, TrialResult


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """What a study has found so far.

    Attributes:
        name: The study's name.
        metric: What was searched for.
        mode: Whether a small or a large metric is good.
        trials: Finished trials, in the order of their suggestion.
        interrupted: Whether the study was interrupted; run it again to go on.
        uploaded: Whether MLflow holds everything.
        tracking_uri: The MLflow store.
        out_of_time: Whether the study was ended after its ``max_time``; run it again to go on.
        parts: What the studies of its parts have found, where it has ``sub_problems``.
    """

    name: str
    metric: str
    mode: Mode
    trials: tuple[TrialResult, ...] = field(repr=False)
    interrupted: bool
    uploaded: bool
    tracking_uri: str
    out_of_time: bool = False
    parts: "tuple[StudyResult, ...]" = field(default=(), repr=False)

    @property
    def best(self) -> TrialResult | None:
        """The best completed trial, or None."""
        return best_trial(self.trials, self.mode)

    def table(self) -> pd.DataFrame:
        """Return one row per trial, best first; see ``report.trials_table``."""
        return trials_table(self.trials, metric=self.metric, mode=self.mode)

    def schedule(self, trial: str) -> list[tuple[int, Config]]:
        """Return how a trial's folds came about, as ``schedulers.Replay`` takes it.

        In a population that leads back over every state that was taken over.

        Args:
            trial: Its id, ``result.best.id`` say.

        Returns:
            Pairs of an epoch and the configuration from then on, beginning with epoch 0.

        Raises:
            RecipeError: If no finished trial has that id.
        """
        for result in self.trials:
            if result.id == trial:
                return list(result.schedule) or [(0, result.config)]
        known = ", ".join(result.id for result in self.trials) or "none"
        raise RecipeError(f"trial {trial!r} is not among the finished ones: {known}.")

    def best_metric(self, metric: str) -> float | None:
        """Return the best trial's mean of a metric after the last epoch.

        Folds where it is undefined are left out; None where it is in all, or is not computed.
        """
        folds = self.best.folds if self.best is not None else ()
        values = [fold.history[-1][metric] for fold in folds if metric in fold.history[-1]]
        return sum(values) / len(values) if values else None

    def failures(self, accept: Sequence[Acceptance]) -> list[str]:
        """Return what the best trial does not reach, a line each; nothing when all is well."""
        failures = []
        for criterion in accept:
            value = self.best_metric(criterion.metric)
            low, high = criterion.at_least, criterion.at_most
            wanted = f"at least {low}" if low is not None else f"at most {high}"
            if value is None:
                failures.append(f"{criterion.metric} should be {wanted}, but no trial has it.")
            elif (low is not None and value < low) or (high is not None and value > high):
                failures.append(
                    f"{criterion.metric} should be {wanted}, the best has {value:.6g}."
                )
        return failures

    def _repr_html_(self) -> str:
        return str(self.table().to_html(index=False))

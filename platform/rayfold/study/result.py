"""What a study returns."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from rayfold.acceptance import Acceptance, Verdict
from rayfold.errors import RecipeError
from rayfold.report import best_trial, trials_table
from rayfold.results import Config, Mode, TrialResult, shortened


@dataclass(frozen=True, kw_only=True, repr=False)
class StudyResult:
    """What a study has found so far.

    Attributes:
        name: The study's name.
        metric: What was searched for.
        mode: Whether a small or a large metric is good.
        metrics: All that was measured on validation rows, ``metric`` first.
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
    metrics: tuple[str, ...] = field(repr=False)
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
        return trials_table(self.trials, metric=self.metric, mode=self.mode, metrics=self.metrics)

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

    def judge(self, accept: Sequence[Acceptance]) -> "list[Verdict]":
        """Hold the best trial against what a study must reach, criterion by criterion."""
        best = self.best
        return [
            Verdict.of(criterion, None if best is None else best.measured(criterion.metric))
            for criterion in accept
        ]

    def __repr__(self) -> str:
        """Return what it is in a line or two."""
        counts = Counter(trial.status for trial in self.trials)
        trials = ", ".join(f"{number} {status}" for status, number in counts.items())
        ends = [name for name in ("interrupted", "out_of_time") if getattr(self, name)]
        state = "".join(f", {name}" for name in ends)
        return (
            f"<StudyResult of {shortened(self.name, 40)!r} by {self.metric} ({self.mode}): "
            f"{trials or 'no trials'}{state}; best {self._best_in_words()}>"
        )

    def _best_in_words(self) -> str:
        best = self.best
        return "none" if best is None else f"{best.id} with {best.score:.6g}"

    def _repr_html_(self) -> str:
        return str(self.table().to_html(index=False))

"""The result of a study."""

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
    """The results of a study so far.

    Attributes:
        name: The study's name.
        metric: The metric that the search optimises.
        mode: Whether a small or a large metric is good.
        metrics: All metrics on validation rows, ``metric`` first.
        trials: Finished trials, in the order of their suggestion.
        interrupted: Whether the study was interrupted; run it again to resume.
        uploaded: Whether MLflow holds everything.
        tracking_uri: The MLflow store.
        out_of_time: Whether ``max_time`` ended the study; run it again to resume.
        parts: Results of the parts' studies, with ``sub_problems``.
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
        """Return the schedule that trained a trial's folds, for ``schedulers.Replay``.

        In a population it includes every state that the trial has copied.

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
        """Compare the best trial with each criterion that a study must meet."""
        best = self.best
        return [
            Verdict.of(criterion, None if best is None else best.measured(criterion.metric))
            for criterion in accept
        ]

    def __repr__(self) -> str:
        """Return a summary of one or two lines."""
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

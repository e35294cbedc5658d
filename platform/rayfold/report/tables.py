"""The table of trials."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import pandas as pd

from rayfold.results import Mode, TrialResult
from rayfold.tracking import LoggedStudy


class Ranked(Protocol):
    """What a trial needs to be ranked, be it from the journal or from MLflow."""

    @property
    def id(self) -> str:
        """Name within the study."""

    @property
    def status(self) -> str:
        """``"completed"``, ``"stopped"``, ``"failed"`` or ``"running"``."""

    @property
    def score(self) -> float | None:
        """Mean of the folds' scores."""


RankedTrial = TypeVar("RankedTrial", bound=Ranked)


def best_first(results: Sequence[RankedTrial], mode: Mode) -> list[RankedTrial]:
    """Return completed trials by their score, then stopped ones, then failed ones."""
    ranks = {"completed": 0, "stopped": 1, "failed": 2, "running": 3}

    def key(result: RankedTrial) -> tuple[int, float, str]:
        score = float("inf") if result.score is None else result.score
        if mode == "max" and result.score is not None:
            score = -score
        return ranks[result.status], score, result.id

    return sorted(results, key=key)


def best_trial(results: Sequence[RankedTrial], mode: Mode) -> RankedTrial | None:
    """Return the completed trial with the best score, or None when none is complete."""
    ranked = best_first(results, mode)
    return ranked[0] if ranked and ranked[0].status == "completed" else None


def trials_table(results: Sequence[TrialResult], *, metric: str, mode: Mode) -> pd.DataFrame:
    """Return one row per trial, best first.

    Args:
        results: The trials.
        metric: Name of the score's column.
        mode: Whether a small or a large score is good.

    Returns:
        Columns ``trial``, ``status``, ``metric`` (mean over the folds), ``standard_error``,
        ``folds``, ``seconds`` (of training and validation in these; None without one), in a
        population ``exploits`` (how many) and ``donor`` (of the last one), with initial weights
        ``begins`` (what was loaded for its first fold, or ``cold``), then the hyperparameters.
    """
    population = any(result.exploits for result in results)
    rows = [
        {
            "trial": result.id,
            "status": result.status,
            metric: result.score,
            "standard_error": result.standard_error,
            "folds": len(result.folds),
            "seconds": _busy_seconds(result),
            **(_lineage(result) if population else {}),
            **({} if result.warm is None else {"begins": _beginning(result)}),
            **result.config,
        }
        for result in best_first(results, mode)
    ]
    return _frame(rows, ["trial", "status", metric, "standard_error", "folds", "seconds"])


def _busy_seconds(result: TrialResult) -> float | None:
    if not result.folds:
        return None  # of a fold that was not finished, nobody knows
    return round(sum(fold.busy_seconds for fold in result.folds), 3)


def _lineage(result: TrialResult) -> dict[str, object]:
    donor = result.exploits[-1].donor if result.exploits else None
    return {"exploits": len(result.exploits), "donor": donor}


def _beginning(result: TrialResult) -> str:
    loaded = (fold.initial for fold in result.folds if fold.initial is not None)
    return str(next(loaded, "cold"))


def logged_table(study: LoggedStudy) -> pd.DataFrame:
    """Return the same table from what MLflow holds, less the ``seconds``."""
    metric, mode = study.description["metric"], study.description["mode"]
    rows = [
        {
            "trial": trial.id,
            "status": trial.status,
            metric: trial.score,
            "standard_error": trial.standard_error,
            "folds": len(trial.folds),
            **trial.config,
        }
        for trial in best_first(study.trials, mode)
    ]
    return _frame(rows, ["trial", "status", metric, "standard_error", "folds"])


def table_text(table: pd.DataFrame) -> str:
    """Return a table as text for a terminal, numbers at four digits; absent values empty."""
    if table.empty:
        return "no completed trials yet"
    text = table.apply(lambda column: column.map(_cell))
    return str(text.to_string(index=False))


def _cell(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _frame(rows: Sequence[Mapping[str, object]], first: list[str]) -> pd.DataFrame:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = [*first, *(name for name in names if name not in first)]
    return pd.DataFrame(rows, columns=columns)

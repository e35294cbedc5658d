"""The table of trials."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Protocol, TypeVar

import pandas as pd

from rayfold.results import Mode, TrialResult
from rayfold.tracking import LoggedStudy
from rayfold.training.metrics import scored_names

STANDARD_ERROR = "standard_error"
"""Ending of the names of standard errors' columns, each of which follows its mean."""


class Ranked(Protocol):
    """A trial that can be ranked, from the journal or from MLflow."""

    @property
    def id(self) -> str:
        """Name within the study."""

    @property
    def status(self) -> str:
        """``"completed"``, ``"stopped"``, ``"failed"`` or ``"running"``."""

    @property
    def score(self) -> float | None:
        """Mean of the folds' scores."""

    @property
    def standard_error(self) -> float | None:
        """Standard error of that mean."""

    def measured(self, metric: str) -> tuple[float, float | None] | None:
        """Return the mean of another metric over the folds, and its standard error."""


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


def trials_table(
    results: Sequence[TrialResult], *, metric: str, mode: Mode, metrics: Sequence[str] = ()
) -> pd.DataFrame:
    """Return one row per trial, best first.

    Args:
        results: The trials.
        metric: Name of the score's column.
        mode: Whether a small or a large score is good.
        metrics: The study's other metrics on validation rows, ``("val_accuracy",)``.

    Returns:
        Columns, in this order:

        * ``trial``, ``status``, ``metric`` (mean over the folds), ``standard_error``;
        * each other metric with its ``..._standard_error``;
        * ``folds``, ``seconds`` (training and validation in these folds; None without folds);
        * in a population: ``exploits`` (their number) and ``donor`` (of the last one);
        * with initial weights: ``begins`` (what its first fold has loaded, or ``cold``);
        * the hyperparameters.
    """
    population = any(result.exploits for result in results)
    rows = [
        {
            **_scores(result, metric, metrics),
            "folds": len(result.folds),
            "seconds": _busy_seconds(result),
            **(_lineage(result) if population else {}),
            **({} if result.warm is None else {"begins": _beginning(result)}),
            **result.config,
        }
        for result in best_first(results, mode)
    ]
    return _frame(rows, [*_score_columns(metric, metrics), "folds", "seconds"])


def _scores(trial: Ranked, metric: str, metrics: Sequence[str]) -> dict[str, object]:
    """Return a trial, its score, and the other metrics, each with its standard error."""
    row: dict[str, object] = {
        "trial": trial.id,
        "status": trial.status,
        metric: trial.score,
        STANDARD_ERROR: trial.standard_error,
    }
    for name in metrics:
        if name != metric:
            row[name], row[f"{name}_{STANDARD_ERROR}"] = trial.measured(name) or (None, None)
    return row


def _score_columns(metric: str, metrics: Sequence[str]) -> list[str]:
    others = [name for name in metrics if name != metric]
    pairs = [column for name in others for column in (name, f"{name}_{STANDARD_ERROR}")]
    return ["trial", "status", metric, STANDARD_ERROR, *pairs]


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
    metric, mode = study.description.metric, study.description.mode
    metrics = scored_names(study.description.metrics, metric)
    rows = [
        {**_scores(trial, metric, metrics), "folds": len(trial.folds), **trial.config}
        for trial in best_first(study.trials, mode)
    ]
    return _frame(rows, [*_score_columns(metric, metrics), "folds"])


def failed_table(study: LoggedStudy) -> pd.DataFrame:
    """Return one row per failed trial: ``trial``, ``error`` with file and line, its values.

    Trials that were stopped without a score are among them.
    """
    rows = [
        {"trial": trial.id, "error": trial.error or "unknown", **trial.config}
        for trial in study.trials
        if trial.status == "failed" or (trial.status == "stopped" and trial.score is None)
    ]
    return _frame(rows, ["trial", "error"])


def table_text(
    table: pd.DataFrame, *, width: int | None = None, empty: str = "no completed trials yet"
) -> str:
    """Return a table as text, with numbers of four digits; missing values are empty.

    A mean and its standard error share a column: ``0.9833 ± 0.0024``.

    Args:
        table: The table, its most important columns first.
        width: Longest line in characters. Columns that do not fit are left out and named below the
            table. None: all columns.
        empty: Text for a table without rows.
    """
    if table.empty:
        return empty
    cells = _with_errors(table.apply(lambda column: column.map(_cell)))
    if width is None:
        return str(cells.to_string(index=False))
    widths = [max(len(str(name)), *map(len, column)) + 1 for name, column in cells.items()]
    room = width + 1
    shown = max(1, sum(total <= room for total in accumulate(widths)))
    text = str(cells.iloc[:, :shown].to_string(index=False))
    left_out = [str(name) for name in cells.columns[shown:]]
    if not left_out:
        return text
    return f"{text}\n{_left_out(left_out, width)}"


def _left_out(names: Sequence[str], width: int) -> str:
    """Return a line that names the columns that are not shown, as far as they fit."""
    how, line = " (--all shows them)", f"and {len(names)} more: {', '.join(names)}"
    if len(line) + len(how) > width:
        line = f"and {len(names)} more columns"
    return f"{line}{how}"


def _with_errors(cells: pd.DataFrame) -> pd.DataFrame:
    """Return a table of texts in which each mean is followed by its standard error."""
    columns: dict[str, pd.Series] = {}
    mean = ""
    for name in map(str, cells.columns):
        if name.endswith(STANDARD_ERROR) and mean:
            errors = cells[name].map(lambda text: text and f" ± {text}")
            columns[mean] = columns[mean] + errors
        else:
            columns[name], mean = cells[name], name
    return pd.DataFrame(columns)


def _cell(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _frame(rows: Sequence[Mapping[str, object]], first: list[str]) -> pd.DataFrame:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = [*first, *(name for name in names if name not in first)]
    return pd.DataFrame(rows, columns=columns)

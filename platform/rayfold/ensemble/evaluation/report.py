"""The report on an ensemble, with scores on rows that it was not chosen on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rayfold.acceptance import Acceptance, Verdict
from rayfold.ensemble.evaluation.conformal import coverage_of
from rayfold.ensemble.evaluation.nested_validation import Evaluation
from rayfold.ensemble.evaluation.plots import plot_builders, png
from rayfold.ensemble.evaluation.scores import Interval, Scores, interval, scores_of
from rayfold.ensemble.evaluation.study_metrics import over_folds, over_rows
from rayfold.ensemble.evaluation.uncertainty import Uncertainty
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.results import Mode
from rayfold.tasks import Metric, Task

COVERAGE = 0.9
"""Coverage of the reported sets and intervals."""


@dataclass(frozen=True, kw_only=True)
class HeldOutReport:
    """Results on the test rows.

    Attributes:
        ensemble: Scores of the ensemble.
        best_average: Scores of the best single trial, which averages its fold models.
        best_model: Scores of its single fold models, averaged over them.
        gain_over_average: Loss of ``best_average`` minus the ensemble's, row by row.
        gain_over_model: The same for ``best_model``.
        coverage: Share of the rows whose set or interval holds the truth, for a coverage of 0.9.
        width: Mean size of the sets, or mean width of the intervals.
        uncertainty: Means over the rows of the total uncertainty and its two parts.
    """

    ensemble: Scores
    best_average: Scores
    best_model: Scores
    gain_over_average: Interval
    gain_over_model: Interval
    coverage: float
    width: float
    uncertainty: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The scores of an ensemble.

    Attributes:
        reason: Why its builder was chosen.
        nested: Scores of nested out-of-fold predictions: each row is predicted by models that
            did not see it, in an ensemble that was not chosen on it.
        single_best: Out-of-fold scores of the best trial.
        builders: Nested loss of each builder that was tried, and its standard error.
        held_out: Results on the test rows; None without them.
        best_by_metric: Out-of-fold scores of the best trial by the study's metric; None if this is
            ``single_best``.
        comparison: A sentence that compares the ensemble with its best trial by the study's
            metric.
        accept: Whether the ensemble meets the study's criteria, by nested predictions.
    """

    reason: str
    nested: Scores
    single_best: Scores
    builders: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    held_out: HeldOutReport | None = None
    best_by_metric: Scores | None = None
    comparison: str = ""
    accept: tuple[Verdict, ...] = ()

    def table(self) -> pd.DataFrame:
        """Return one row for each scored set of predictions."""
        scored = {"nested out-of-fold": self.nested, "best trial, out-of-fold": self.single_best}
        if self.best_by_metric is not None:
            metric = next(iter(self.best_by_metric.metrics))
            scored[f"best trial by {metric}, out-of-fold"] = self.best_by_metric
        if self.held_out is not None:
            scored["held out"] = self.held_out.ensemble
            scored["best trial's average, held out"] = self.held_out.best_average
            scored["one of its models, held out"] = self.held_out.best_model
        rows: list[dict[str, Any]] = []
        for name, scores in scored.items():
            row: dict[str, Any] = {"predictions": name, "rows": scores.num_rows}
            for metric, (value, error) in scores.metrics.items():
                row |= {metric: value, f"{metric}_standard_error": error}
            row |= {
                "loss": scores.loss.value,
                "low": scores.loss.low,
                "high": scores.loss.high,
            }
            if scores.error is not None:
                row["error"] = scores.error.value
            if scores.calibration_error is not None:
                row["calibration_error"] = scores.calibration_error
            rows.append(row)
        return pd.DataFrame(rows)

    @property
    def sections(self) -> dict[str, str]:
        """Markdown by title, for a model card."""
        judged = [f"* {verdict}" for verdict in self.accept]
        text = "\n\n".join(
            part for part in (markdown(self.table()), self.comparison, "\n".join(judged)) if part
        )
        sections = {"How good it is": text}
        if self.held_out is not None:
            held_out, parts = self.held_out, self.held_out.uncertainty
            sections["On the rows set aside"] = (
                f"Loss lower than that of the best trial's average by "
                f"{held_out.gain_over_average}, than that of its single models by "
                f"{held_out.gain_over_model} (mean, 95 % bootstrap interval). Sets or intervals "
                f"for {COVERAGE:.0%} hold the truth in {held_out.coverage:.1%} of the rows; their "
                f"mean size is {held_out.width:.4g}. Uncertainty {parts['total']:.4g}: "
                f"{parts['data']:.4g} of the data, {parts['model']:.4g} of the models."
            )
        builders = [
            f"| {name} | {loss:.4g} ± {error:.2g} |"
            for name, (loss, error) in self.builders.items()
        ]
        sections["Builders that were tried"] = "\n".join(
            ["| builder | nested loss |", "|---|---|", *builders]
        )
        return sections

    @property
    def plots(self) -> dict[str, bytes]:
        """PNG files by name, for a model card."""
        return {"builders.png": png(plot_builders(self.builders))}


def report_of_folds(
    evaluations: Sequence[Evaluation],
    out_of_fold: OutOfFold,
    *,
    single_best: NDArray[np.float64],
    best_by_metric: NDArray[np.float64],
    best_name: str,
    scored: Sequence[str],
    metrics: Mapping[str, Metric],
    mode: Mode,
    accept: Sequence[Acceptance],
    reason: str,
) -> Report:
    """Return the report without test rows.

    Args:
        evaluations: Evaluations of the builders that were tried, the chosen one first.
        out_of_fold: The candidates' predictions.
        single_best: Out-of-fold predictions of the trial with the lowest loss, shape
            ``(rows, outputs)``.
        best_by_metric: Those of the trial that is best by the study's metric.
        best_name: What that trial is called.
        scored: What the study measured, what it searched for first: ``("val_auroc", ...)``.
        metrics: Those metrics among it that are known here, by name.
        mode: Whether a small or a large value of that is good.
        accept: What the study was to reach.
        reason: Why the builder was chosen.
    """
    task, target = out_of_fold.task, out_of_fold.target

    def scores(predictions: NDArray[np.float64]) -> Scores:
        measures = over_folds(task, metrics, predictions, target, out_of_fold.folds)
        return scores_of(task, predictions[None], target, metrics=measures)

    nested, alone = scores(evaluations[0].predictions), scores(single_best)
    by_metric = None
    is_known = scored[0].removeprefix("val_") in metrics
    if is_known and not np.array_equal(single_best, best_by_metric):
        by_metric = scores(best_by_metric)
    return Report(
        reason=reason,
        nested=nested,
        single_best=alone,
        builders={
            repr(evaluation.builder): (evaluation.loss, evaluation.standard_error)
            for evaluation in evaluations
        },
        best_by_metric=by_metric,
        comparison=_comparison(nested, by_metric or alone, best_name, scored[0], mode),
        accept=tuple(
            Verdict.of(criterion, nested.metrics.get(criterion.metric.removeprefix("val_")))
            for criterion in accept
            if criterion.metric != "val_loss"
        ),
    )


def _comparison(nested: Scores, best: Scores, name: str, scored: str, mode: Mode) -> str:
    """Compare an ensemble with its best trial by the study's metric, in a sentence."""
    if scored == "val_loss":
        name, metric, mode = "", "loss", "min"
        of_ensemble: tuple[float, float | None] | None = nested.loss.value, None
        of_best: tuple[float, float | None] | None = best.loss.value, None
    else:
        metric = scored.removeprefix("val_")
        of_ensemble, of_best = nested.metrics.get(metric), best.metrics.get(metric)
    if of_ensemble is None or of_best is None:
        return f"By {metric} it cannot be compared with its best trial."
    gain = of_ensemble[0] - of_best[0] if mode == "max" else of_best[0] - of_ensemble[0]
    verdict = "is better than" if gain > 0 else "is worse than" if gain < 0 else "equals"
    trial = f"trial, {name}," if name else "trial"
    return (
        f"By {metric} the ensemble, {_with_error(of_ensemble)} on rows that it was not chosen on, "
        f"{verdict} its best {trial} with {_with_error(of_best)}."
    )


def _with_error(measured: tuple[float, float | None]) -> str:
    value, error = measured
    return f"{value:.4g}" if error is None else f"{value:.4g} ± {error:.2g}"


def report_of_held_out(
    *,
    task: Task,
    ensemble: NDArray[np.float64],
    best_models: NDArray[np.float64],
    target: NDArray[np.generic],
    nonconformity: NDArray[np.float64],
    uncertainty: Uncertainty,
    metrics: Mapping[str, Metric],
) -> HeldOutReport:
    """Return the results on the test rows.

    Args:
        task: The task.
        ensemble: The ensemble's predictions, shape ``(rows, outputs)``.
        best_models: Those of the best single trial's models, shape ``(models, rows, outputs)``.
        target: What is true.
        nonconformity: Of other rows, as sets and intervals need it.
        uncertainty: Of the ensemble's predictions.
        metrics: The study's own metrics by name.
    """
    average = best_models.mean(axis=0)
    of_each = [over_rows(task, metrics, model, target) for model in best_models]
    losses = task.row_losses(ensemble, target)
    of_models = task.row_losses(best_models, target).mean(axis=0)
    covered, width = coverage_of(task, ensemble, target, nonconformity, COVERAGE)
    return HeldOutReport(
        ensemble=scores_of(
            task, ensemble[None], target, metrics=over_rows(task, metrics, ensemble, target)
        ),
        best_average=scores_of(
            task, average[None], target, metrics=over_rows(task, metrics, average, target)
        ),
        best_model=scores_of(
            task,
            best_models,
            target,
            metrics={
                name: (float(np.mean([of_model[name][0] for of_model in of_each])), None)
                for name in metrics
                if all(name in of_model for of_model in of_each)
            },
        ),
        gain_over_average=interval(task.row_losses(average, target) - losses),
        gain_over_model=interval(of_models - losses),
        coverage=covered,
        width=width,
        uncertainty={
            "total": float(uncertainty.total.mean()),
            "data": float(uncertainty.data.mean()),
            "model": float(uncertainty.model.mean()),
        },
    )


def markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown, numbers at four digits."""
    lines = [
        "| " + " | ".join(table.columns) + " |",
        "|---" * len(table.columns) + "|",
        *(
            "| " + " | ".join(_cell(value) for value in row) + " |"
            for row in table.itertuples(index=False)
        ),
    ]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4g}"
    return str(value)

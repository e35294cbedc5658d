"""How good an ensemble is, by numbers that nothing was chosen on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats
from torchmetrics.functional.classification import multiclass_calibration_error

from rayfold.acceptance import Acceptance, Verdict
from rayfold.ensemble.conformal import class_sets, intervals
from rayfold.ensemble.evaluation import Evaluation
from rayfold.ensemble.measures import Measures, metric_names, over_folds, over_rows
from rayfold.ensemble.out_of_fold import OutOfFold, row_losses
from rayfold.ensemble.uncertainty import Uncertainty
from rayfold.results import Mode

COVERAGE = 0.9
"""Share of the rows that the reported sets and intervals promise to cover."""

CONFIDENCE = 0.95
RESAMPLES = 2000
NUM_BINS = 15


@dataclass(frozen=True, order=True)
class Interval:
    """A mean over rows with its bootstrap interval of 95 %.

    Attributes:
        value: The mean.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How good predictions are on some rows.

    Attributes:
        num_rows: How many rows.
        loss: Log loss, or squared error.
        error: Share of rows whose most probable class is wrong; None for regression.
        calibration_error: Expected calibration error in 15 bins of equal width; None for
            regression.
        metrics: The study's own metrics, the one that it searched for first.
    """

    num_rows: int
    loss: Interval
    error: Interval | None = None
    calibration_error: float | None = None
    metrics: Measures = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HeldOutReport:
    """Figures of the rows that the study kept for the test.

    Attributes:
        ensemble: The ensemble's scores.
        best_average: Those of the best single trial: the average of its fold models.
        best_model: Those of its fold models one by one, on average over them.
        gain_over_average: Loss of ``best_average`` less that of the ensemble, row by row.
        gain_over_model: The same of ``best_model``.
        coverage: Share of the rows whose set or interval holds the truth, promised for 0.9.
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
    """How good an ensemble is.

    Attributes:
        reason: Why its builder was chosen.
        nested: Scores of nested out-of-fold predictions: each row is predicted by models that
            did not see it, in an ensemble that was not chosen on it.
        single_best: Out-of-fold scores of the best trial alone.
        builders: Nested loss of each builder that was tried, and its standard error.
        held_out: Figures of the test rows; None if the report was made without them.
        best_by_metric: Out-of-fold scores of the trial that is best by the study's metric; None
            where that is ``single_best``.
        comparison: How the ensemble compares with its best trial by the study's metric, a
            sentence.
        accept: Whether the ensemble reaches what the study was to reach, by nested predictions.
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
        """Return one row for each set of predictions that was scored."""
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
        from rayfold.ensemble.plots import plot_builders, png

        return {"builders.png": png(plot_builders(self))}


def scores_of(
    predictions: NDArray[np.float64],
    target: NDArray[np.generic],
    *,
    metrics: Measures | None = None,
) -> Scores:
    """Score predictions; those of several models one by one, and take the mean.

    Args:
        predictions: Class probabilities or values, shape ``(models, rows, outputs)``.
        target: Class indices, shape ``(rows,)``, or values, shape ``(rows, outputs)``.
        metrics: The study's own metrics of them.
    """
    losses = row_losses(predictions, target).mean(axis=0)
    scores = Scores(num_rows=len(losses), loss=interval(losses), metrics=metrics or {})
    if target.dtype.kind not in "iu":
        return scores
    wrong = (predictions.argmax(axis=2) != target).mean(axis=0)
    true = torch.from_numpy(np.asarray(target, dtype=np.int64))
    calibration_errors = [
        multiclass_calibration_error(
            torch.from_numpy(probabilities.clip(0, 1)),  # above 1 they are taken for logits
            true,
            num_classes=predictions.shape[2],
            n_bins=NUM_BINS,
        )
        for probabilities in predictions
    ]
    return replace(
        scores, error=interval(wrong), calibration_error=float(np.mean(calibration_errors))
    )


def interval(values: NDArray[np.float64]) -> Interval:
    """Return the mean of one value per row with its bootstrap interval, shape ``(rows,)``."""
    mean = float(values.mean())
    if len(values) < 2 or float(np.ptp(values)) == 0:
        return Interval(mean, mean, mean)
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=100,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high))


def report_of_folds(
    evaluations: Sequence[Evaluation],
    out_of_fold: OutOfFold,
    *,
    single_best: NDArray[np.float64],
    best_by_metric: NDArray[np.float64],
    best_name: str,
    scored: Sequence[str],
    mode: Mode,
    accept: Sequence[Acceptance],
    reason: str,
) -> Report:
    """Return the report without test rows.

    Args:
        evaluations: Of the builders that were tried, the chosen one first.
        out_of_fold: What they chose from.
        single_best: Out-of-fold predictions of the trial with the lowest loss, shape
            ``(rows, outputs)``.
        best_by_metric: Those of the trial that is best by the study's metric.
        best_name: What that trial is called.
        scored: What the study measured, what it searched for first: ``("val_auroc", ...)``.
        mode: Whether a small or a large value of that is good.
        accept: What the study was to reach.
        reason: Why the builder was chosen.
    """
    target, names = out_of_fold.target, metric_names(scored)

    def scores(predictions: NDArray[np.float64]) -> Scores:
        measures = over_folds(names, predictions, target, out_of_fold.folds)
        return scores_of(predictions[None], target, metrics=measures)

    nested, alone = scores(evaluations[0].predictions), scores(single_best)
    by_metric = None
    if scored[0] != "val_loss" and not np.array_equal(single_best, best_by_metric):
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
    """Say how an ensemble compares with its best trial by the study's metric."""
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
    ensemble: NDArray[np.float64],
    best_models: NDArray[np.float64],
    target: NDArray[np.generic],
    nonconformity: NDArray[np.float64],
    uncertainty: Uncertainty,
    names: Sequence[str] = (),
) -> HeldOutReport:
    """Return the figures of the test rows.

    Args:
        ensemble: The ensemble's predictions, shape ``(rows, outputs)``.
        best_models: Those of the best single trial's models, shape ``(models, rows, outputs)``.
        target: What is true.
        nonconformity: Of other rows, as sets and intervals need it.
        uncertainty: Of the ensemble's predictions.
        names: The study's own metrics.
    """
    average = best_models.mean(axis=0)
    of_each = [over_rows(names, model, target) for model in best_models]
    losses = row_losses(ensemble, target)
    of_models = row_losses(best_models, target).mean(axis=0)
    if target.dtype.kind in "iu":
        sets = class_sets(ensemble, nonconformity, COVERAGE)
        covered = np.take_along_axis(sets, np.asarray(target, np.int64)[:, None], axis=1)
        width = float(sets.sum(axis=1).mean())
    else:
        ends = intervals(ensemble, nonconformity, COVERAGE)
        true = np.asarray(target, np.float64)
        covered = (ends[..., 0] <= true) & (true <= ends[..., 1])
        width = float((ends[..., 1] - ends[..., 0]).mean())
    return HeldOutReport(
        ensemble=scores_of(ensemble[None], target, metrics=over_rows(names, ensemble, target)),
        best_average=scores_of(average[None], target, metrics=over_rows(names, average, target)),
        best_model=scores_of(
            best_models,
            target,
            metrics={
                name: (float(np.mean([of_model[name][0] for of_model in of_each])), None)
                for name in names
            },
        ),
        gain_over_average=interval(row_losses(average, target) - losses),
        gain_over_model=interval(of_models - losses),
        coverage=float(covered.mean()),
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

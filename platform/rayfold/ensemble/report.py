"""How good an ensemble is, by numbers that nothing was chosen on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats
from torchmetrics.functional.classification import multiclass_calibration_error

from rayfold.ensemble.conformal import class_sets, intervals
from rayfold.ensemble.evaluation import Evaluation
from rayfold.ensemble.out_of_fold import row_losses
from rayfold.ensemble.uncertainty import Uncertainty

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
    """

    num_rows: int
    loss: Interval
    error: Interval | None = None
    calibration_error: float | None = None


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
    """

    reason: str
    nested: Scores
    single_best: Scores
    builders: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    held_out: HeldOutReport | None = None

    def table(self) -> pd.DataFrame:
        """Return one row for each set of predictions that was scored."""
        scored = {"nested out-of-fold": self.nested, "best trial, out-of-fold": self.single_best}
        if self.held_out is not None:
            scored["held out"] = self.held_out.ensemble
            scored["best trial's average, held out"] = self.held_out.best_average
            scored["one of its models, held out"] = self.held_out.best_model
        rows: list[dict[str, Any]] = []
        for name, scores in scored.items():
            row = {
                "predictions": name,
                "rows": scores.num_rows,
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
        sections = {"How good it is": markdown(self.table())}
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


def scores_of(predictions: NDArray[np.float64], target: NDArray[np.generic]) -> Scores:
    """Score predictions; those of several models one by one, and take the mean.

    Args:
        predictions: Class probabilities or values, shape ``(models, rows, outputs)``.
        target: Class indices, shape ``(rows,)``, or values, shape ``(rows, outputs)``.
    """
    losses = row_losses(predictions, target).mean(axis=0)
    if target.dtype.kind not in "iu":
        return Scores(num_rows=len(losses), loss=interval(losses))
    wrong = (predictions.argmax(axis=2) != target).mean(axis=0)
    true = torch.from_numpy(np.asarray(target, dtype=np.int64))
    calibration_errors = [
        multiclass_calibration_error(
            torch.from_numpy(probabilities),
            true,
            num_classes=predictions.shape[2],
            n_bins=NUM_BINS,
        )
        for probabilities in predictions
    ]
    return Scores(
        num_rows=len(losses),
        loss=interval(losses),
        error=interval(wrong),
        calibration_error=float(np.mean(calibration_errors)),
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
    single_best: NDArray[np.float64],
    target: NDArray[np.generic],
    reason: str,
) -> Report:
    """Return the report without test rows.

    Args:
        evaluations: Of the builders that were tried, the chosen one first.
        single_best: Out-of-fold predictions of the best trial, shape ``(rows, outputs)``.
        target: What is true.
        reason: Why the builder was chosen.
    """
    return Report(
        reason=reason,
        nested=scores_of(evaluations[0].predictions[None], target),
        single_best=scores_of(single_best[None], target),
        builders={
            repr(evaluation.builder): (evaluation.loss, evaluation.standard_error)
            for evaluation in evaluations
        },
    )


def report_of_held_out(
    *,
    ensemble: NDArray[np.float64],
    best_models: NDArray[np.float64],
    target: NDArray[np.generic],
    nonconformity: NDArray[np.float64],
    uncertainty: Uncertainty,
) -> HeldOutReport:
    """Return the figures of the test rows.

    Args:
        ensemble: The ensemble's predictions, shape ``(rows, outputs)``.
        best_models: Those of the best single trial's models, shape ``(models, rows, outputs)``.
        target: What is true.
        nonconformity: Of other rows, as sets and intervals need it.
        uncertainty: Of the ensemble's predictions.
    """
    average = best_models.mean(axis=0)
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
        ensemble=scores_of(ensemble[None], target),
        best_average=scores_of(average[None], target),
        best_model=scores_of(best_models, target),
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

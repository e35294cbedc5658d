import numpy as np
import pytest
from numpy.typing import NDArray

from rayfold.acceptance import Acceptance
from rayfold.ensemble import Best, OutOfFold
from rayfold.ensemble.evaluation.nested_validation import Evaluation
from rayfold.ensemble.evaluation.report import Report, report_of_folds, report_of_held_out
from rayfold.ensemble.evaluation.scores import Interval, interval, scores_of
from rayfold.ensemble.evaluation.study_metrics import known_metrics
from rayfold.ensemble.evaluation.uncertainty import Uncertainty
from rayfold.tasks import Classification, Labels, Metric, Predictions, Regression


def test_scores_of_several_models_are_means_over_them() -> None:
    """One model is right on both rows, the other one on one."""
    probabilities = np.array([[[0.9, 0.1], [0.1, 0.9]], [[0.9, 0.1], [0.9, 0.1]]])
    scores = scores_of(Classification(), probabilities, np.array([0, 1]))
    assert scores.num_rows == 2
    assert scores.error is not None
    assert scores.error.value == 0.25
    assert scores.loss.value == pytest.approx(-(3 * np.log(0.9) + np.log(0.1)) / 4)


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    """Sure by 0.9 and right in one row of two: off by 0.4."""
    scores = scores_of(Classification(), np.array([[[0.9, 0.1], [0.9, 0.1]]]), np.array([0, 1]))
    assert scores.calibration_error == pytest.approx(0.4)


def test_a_probability_above_1_by_rounding_is_no_logit() -> None:
    """Sure by 1 and right in one row of two: off by 0.5."""
    predictions = np.array([[[1.0 + 1e-7, 0.0], [1.0, 0.0]]])
    scores = scores_of(Classification(), predictions, np.array([0, 1]))
    assert scores.calibration_error == pytest.approx(0.5, abs=1e-6)


def test_values_have_squared_errors_alone() -> None:
    scores = scores_of(
        Regression(), np.array([[[1.0], [3.0]]]), np.array([[0.0], [0.0]], np.float32)
    )
    assert (scores.loss.value, scores.error, scores.calibration_error) == (5.0, None, None)


def test_a_bootstrap_interval_holds_its_mean_and_shrinks_with_the_rows() -> None:
    values = np.random.default_rng(0).normal(size=1600)
    few, many = interval(values[:100]), interval(values)
    for found in (few, many):
        assert found.low < found.value < found.high
    assert (few.high - few.low) == pytest.approx(4 * (many.high - many.low), rel=0.3)
    assert (few.high - few.low) == pytest.approx(2 * 1.96 / 10, rel=0.2)


def test_equal_values_have_no_width() -> None:
    assert interval(np.ones(3)) == Interval(1.0, 1.0, 1.0)


def test_the_held_out_report_compares_row_by_row() -> None:
    """The ensemble is off by 1; the best trial's two models by 1 and 3, their average by 2."""
    report = report_of_held_out(
        task=Regression(),
        ensemble=np.full((4, 1), 1.0),
        best_models=np.stack([np.full((4, 1), 1.0), np.full((4, 1), 3.0)]),
        target=np.zeros((4, 1), np.float32),
        nonconformity=np.full((99, 1), 1.5),
        uncertainty=Uncertainty(
            total=np.full((4, 1), 3.0), data=np.full((4, 1), 2.0), model=np.full((4, 1), 1.0)
        ),
        metrics={},
    )
    assert report.ensemble.loss.value == 1.0
    assert report.best_average.loss.value == 4.0
    assert report.best_model.loss.value == 5.0
    assert (report.gain_over_average.value, report.gain_over_model.value) == (3.0, 4.0)
    assert (report.coverage, report.width) == (1.0, 3.0)
    assert report.uncertainty == {"total": 3.0, "data": 2.0, "model": 1.0}


def report_on_accuracy(
    *,
    of_ensemble: float,
    of_best: float,
    scored: tuple[str, ...],
    of_best_loss: float | None = None,
    accept: float = 0.75,
) -> Report:
    """Four rows of class 0 in two folds, each predicted with the same probability of it."""
    out_of_fold = OutOfFold(
        task=Classification(),
        predictions=np.full((1, 4, 2), 0.5, np.float32),
        present=np.ones((1, 4), bool),
        complete=np.ones(1, bool),
        target=np.zeros(4, np.int64),
        folds=np.array([0, 0, 1, 1]),
    )

    def predictions(right: float) -> NDArray[np.float64]:
        """Classes of ``right`` of the four rows are right."""
        true = np.where(np.arange(4) < 4 * right, 0.9, 0.2)
        return np.stack([true, 1 - true], axis=1)

    ensemble = predictions(of_ensemble)
    return report_of_folds(
        [
            Evaluation(
                builder=Best(1),
                predictions=ensemble,
                losses=Classification().row_losses(ensemble, out_of_fold.target),
            )
        ],
        out_of_fold,
        single_best=predictions(of_best if of_best_loss is None else of_best_loss),
        best_by_metric=predictions(of_best),
        best_name="0007",
        scored=scored,
        metrics=known_metrics(scored, Classification.metrics),
        mode="max" if scored[0] == "val_accuracy" else "min",
        accept=[Acceptance(metric="val_accuracy", at_least=accept)],
        reason="it was asked for.",
    )


ACCURACY_FIRST = ("val_accuracy", "val_loss")


def test_an_ensemble_that_is_worse_than_its_best_trial_says_so() -> None:
    """Folds are right in 1 and 0.5 of the rows, and in 1 and 1."""
    report = report_on_accuracy(of_ensemble=0.75, of_best=1.0, scored=ACCURACY_FIRST)
    assert report.comparison == (
        "By accuracy the ensemble, 0.75 ± 0.25 on rows that it was not chosen on, is worse than "
        "its best trial, 0007, with 1 ± 0."
    )
    better = report_on_accuracy(of_ensemble=1.0, of_best=0.75, scored=ACCURACY_FIRST)
    assert "is better than its best trial, 0007, with 0.75 ± 0.25." in better.comparison
    equal = report_on_accuracy(of_ensemble=0.5, of_best=0.5, scored=ACCURACY_FIRST)
    assert "equals its best trial" in equal.comparison


def test_a_study_on_the_loss_is_compared_by_the_loss() -> None:
    report = report_on_accuracy(of_ensemble=0.5, of_best=1.0, scored=("val_loss", "val_accuracy"))
    assert report.comparison.startswith("By loss the ensemble, ")
    assert "is worse than its best trial with" in report.comparison


def test_a_study_whose_metric_is_unknown_here_is_not_compared() -> None:
    """The code of a user's metric may be gone; its best trial has no row of its own then."""
    report = report_on_accuracy(
        of_ensemble=0.5, of_best=1.0, of_best_loss=0.75, scored=("val_Mine", "val_accuracy")
    )
    assert report.comparison == "By Mine it cannot be compared with its best trial."
    assert report.best_by_metric is None
    assert list(report.table()["accuracy"]) == [0.5, 0.75]


def test_a_metric_that_one_model_leaves_undefined_is_not_averaged_over_models() -> None:
    """Precision of class 0 alone: the second model predicts none of it."""

    class OfFirst(Metric):
        mode = "max"

        def compute(self, labels: Labels, predictions: Predictions) -> float:
            first = predictions.argmax(axis=1) == 0
            return float((labels[first] == 0).mean()) if first.any() else float("nan")

    first, second = np.array([[0.9, 0.1], [0.1, 0.9]]), np.array([[0.1, 0.9], [0.1, 0.9]])
    entropy = Uncertainty(total=np.zeros(2), data=np.zeros(2), model=np.zeros(2))
    report = report_of_held_out(
        task=Classification(),
        ensemble=first,
        best_models=np.stack([first, second]),
        target=np.array([0, 1]),
        nonconformity=np.full((99, 1), 0.5),
        uncertainty=entropy,
        metrics={"OfFirst": OfFirst()},
    )
    assert report.ensemble.metrics == {"OfFirst": (1.0, None)}
    assert report.best_model.metrics == {}


def test_the_studys_metrics_lead_the_table_with_their_standard_errors() -> None:
    report = report_on_accuracy(of_ensemble=0.75, of_best=1.0, scored=ACCURACY_FIRST)
    table = report.table()
    assert list(table.columns)[:5] == [
        "predictions",
        "rows",
        "accuracy",
        "accuracy_standard_error",
        "loss",
    ]
    assert table["accuracy"].tolist() == [0.75, 1.0]
    assert table["accuracy_standard_error"].tolist() == [0.25, 0.0]


@pytest.mark.parametrize(("at_least", "met"), [(0.75, True), (0.8, False)])
def test_what_the_study_was_to_reach_is_judged_with_numbers(at_least: float, met: bool) -> None:
    report = report_on_accuracy(
        of_ensemble=0.75, of_best=1.0, scored=ACCURACY_FIRST, accept=at_least
    )
    (verdict,) = report.accept
    assert verdict.met == met
    assert f"met: val_accuracy 0.75 ± 0.25, asked for at least {at_least}" in str(verdict)
    assert str(verdict) in report.sections["How good it is"]

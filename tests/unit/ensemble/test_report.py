import numpy as np
import pytest

from rayfold.ensemble.report import Interval, interval, report_of_held_out, scores_of
from rayfold.ensemble.uncertainty import Uncertainty


def test_scores_of_several_models_are_means_over_them() -> None:
    """One model is right on both rows, the other one on one."""
    probabilities = np.array([[[0.9, 0.1], [0.1, 0.9]], [[0.9, 0.1], [0.9, 0.1]]])
    scores = scores_of(probabilities, np.array([0, 1]))
    assert scores.num_rows == 2
    assert scores.error is not None
    assert scores.error.value == 0.25
    assert scores.loss.value == pytest.approx(-(3 * np.log(0.9) + np.log(0.1)) / 4)


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    """Sure by 0.9 and right in one row of two: off by 0.4."""
    scores = scores_of(np.array([[[0.9, 0.1], [0.9, 0.1]]]), np.array([0, 1]))
    assert scores.calibration_error == pytest.approx(0.4)


def test_values_have_squared_errors_alone() -> None:
    scores = scores_of(np.array([[[1.0], [3.0]]]), np.array([[0.0], [0.0]], np.float32))
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
        ensemble=np.full((4, 1), 1.0),
        best_models=np.stack([np.full((4, 1), 1.0), np.full((4, 1), 3.0)]),
        target=np.zeros((4, 1), np.float32),
        nonconformity=np.full((99, 1), 1.5),
        uncertainty=Uncertainty(
            total=np.full((4, 1), 3.0), data=np.full((4, 1), 2.0), model=np.full((4, 1), 1.0)
        ),
    )
    assert report.ensemble.loss.value == 1.0
    assert report.best_average.loss.value == 4.0
    assert report.best_model.loss.value == 5.0
    assert (report.gain_over_average.value, report.gain_over_model.value) == (3.0, 4.0)
    assert (report.coverage, report.width) == (1.0, 3.0)
    assert report.uncertainty == {"total": 3.0, "data": 2.0, "model": 1.0}

import numpy as np
import pytest

from rayfold.ensemble.evaluation.conformal import class_sets, intervals, nonconformity, thresholds
from rayfold.errors import RecipeError
from rayfold.tasks import Classification, Regression


def test_scores_are_what_is_missing_to_the_truth() -> None:
    probabilities = np.array([[0.75, 0.25], [0.5, 0.5]])
    assert nonconformity(Classification(), probabilities, np.array([0, 1])).tolist() == [
        [0.25],
        [0.5],
    ]
    values = np.array([[1.0, 2.0]])
    found = nonconformity(Regression(), values, np.array([[3.0, 2.5]], np.float32))
    assert found.tolist() == [[2.0, 0.5]]


def test_the_threshold_has_the_correction_for_few_rows() -> None:
    """Of 9 scores, the 9th covers 0.9 of ten rows; more cannot be promised."""
    scores = np.arange(1.0, 10.0)[:, None]
    assert thresholds(scores, 0.9).tolist() == [9.0]
    assert thresholds(scores, 0.8).tolist() == [8.0]
    assert thresholds(scores, 0.95).tolist() == [np.inf]


def test_sets_hold_likely_classes_and_never_none() -> None:
    scores = np.full((99, 1), 0.6)
    probabilities = np.array([[0.5, 0.45, 0.05], [0.34, 0.33, 0.33]])
    assert class_sets(probabilities, scores, 0.9).tolist() == [
        [True, True, False],
        [True, False, False],
    ]


def test_intervals_are_as_wide_as_earlier_errors() -> None:
    scores = np.array([[1.0, 10.0]] * 99)
    assert intervals(np.array([[5.0, 5.0]]), scores, 0.9).tolist() == [[[4.0, 6.0], [-5.0, 15.0]]]


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_as_many_rows_are_covered_as_was_promised(coverage: float) -> None:
    generator = np.random.default_rng(0)
    scores = np.abs(generator.normal(size=(4000, 1)))
    true = generator.normal(size=4000)
    ends = intervals(np.zeros((4000, 1)), scores, coverage)[:, 0]
    covered = (ends[:, 0] <= true) & (true <= ends[:, 1])
    assert covered.mean() == pytest.approx(coverage, abs=0.03)


@pytest.mark.parametrize("coverage", [0, 1, -0.1, np.nan])
def test_a_coverage_out_of_range_is_told(coverage: float) -> None:
    with pytest.raises(RecipeError, match="coverage must be a number between 0 and 1, got"):
        thresholds(np.ones((3, 1)), coverage)

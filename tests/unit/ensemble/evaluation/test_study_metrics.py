import numpy as np
import pytest

from rayfold.ensemble.evaluation.study_metrics import known_metrics, over_folds, over_rows
from rayfold.tasks import Classification, Labels, Metric, Predictions, Regression

# Rows of fold 0 are predicted right and wrong, those of fold 1 both right.
RIGHT, WRONG = [0.9, 0.1], [0.2, 0.8]
PROBABILITIES = np.array([RIGHT, WRONG, RIGHT, RIGHT])
ACCURACY = {"accuracy": Classification.metrics["accuracy"]}
CLASSES, FOLDS = np.zeros(4, np.int64), np.array([0, 0, 1, 1])


def test_the_loss_of_a_study_and_what_is_unknown_here_are_no_metrics_of_an_ensemble() -> None:
    scored = ("val_auroc", "val_f1", "val_Mine", "val_loss")
    assert [*known_metrics(scored, Classification.metrics)] == ["auroc", "f1"]


def test_over_folds_it_is_what_a_trials_score_is() -> None:
    """Accuracies of 0.5 and 1: their standard deviation is 0.354, which the root of 2 divides."""
    found = over_folds(Classification(), ACCURACY, PROBABILITIES, CLASSES, FOLDS)
    assert found["accuracy"] == pytest.approx((0.75, 0.25))


def test_the_jackknifes_error_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=(4000, 1))
    value, error = over_rows(
        Regression(), {"mae": Regression.metrics["mae"]}, values, np.zeros((4000, 1), np.float32)
    )["mae"]
    assert value == pytest.approx(np.abs(values).mean())
    assert error == pytest.approx(np.abs(values).std() / np.sqrt(4000), rel=0.5)


def test_few_rows_have_no_standard_error() -> None:
    assert over_rows(Classification(), ACCURACY, PROBABILITIES, CLASSES) == {
        "accuracy": (0.75, None)
    }


def test_a_value_that_some_blocks_leave_undefined_has_no_standard_error() -> None:
    """One row of 40 has class 1: without it, there is no recall of that class."""

    class Recall(Metric):
        mode = "max"

        def compute(self, labels: Labels, predictions: Predictions) -> float:
            rows = labels == 1
            return float((predictions[rows].argmax(axis=1) == 1).mean()) if rows.any() else np.nan

    target, predictions = np.arange(40) == 39, np.tile(WRONG, (40, 1))
    found = over_rows(Classification(), {"Recall": Recall()}, predictions, target)
    assert found == {"Recall": (1.0, None)}


def test_without_names_nothing_is_measured() -> None:
    assert over_rows(Classification(), {}, PROBABILITIES, CLASSES) == {}
    assert over_folds(Classification(), {}, PROBABILITIES, CLASSES, FOLDS) == {}

import math

import pytest
import torch

from rayfold.errors import RecipeError
from rayfold.training.metrics import METRICS, check_metrics, evaluate, metric_mode

# Classes 0 0 0 1 are predicted as 0 0 1 1.
PROBABILITIES = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
CLASSES = torch.tensor([0, 0, 0, 1])

# Errors 1, -1, 2; the labels' mean is 2 and their squared deviations sum to 8.
VALUES = torch.tensor([[1.0], [1.0], [6.0]])
TRUE_VALUES = torch.tensor([[0.0], [2.0], [4.0]])


def test_without_names_the_task_decides() -> None:
    assert check_metrics((), "classification") == ("accuracy",)
    assert check_metrics((), "regression") == ("mae",)


def test_a_metric_named_twice_counts_once() -> None:
    assert check_metrics(("f1", "accuracy", "f1"), "classification") == ("f1", "accuracy")


def test_a_misspelt_metric_gets_a_hint() -> None:
    with pytest.raises(RecipeError, match=r"'acuracy' is not for .*\(did you mean 'accuracy'\?\)"):
        check_metrics(("acuracy",), "classification")


def test_a_metric_of_the_other_task_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"'r2' is not for classification.*choose from accuracy"):
        check_metrics(("accuracy", "r2"), "classification")


def test_the_mode_belongs_to_the_metric() -> None:
    assert metric_mode("val_loss", ("accuracy",), "classification") == "min"
    assert metric_mode("val_accuracy", ("accuracy",), "classification") == "max"
    assert metric_mode("val_rmse", ("rmse",), "regression") == "min"
    assert metric_mode("val_r2", ("r2",), "regression") == "max"


def test_a_metric_that_is_not_computed_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"'val_f1' is not computed.*one of val_loss, val_accur"):
        metric_mode("val_f1", ("accuracy",), "classification")


def test_classification_metrics_by_hand() -> None:
    """Class 0: precision 1, recall 2/3, F1 4/5. Class 1: precision 1/2, recall 1, F1 2/3."""
    names = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
    assert evaluate(names, "classification", PROBABILITIES, CLASSES) == pytest.approx(
        {
            "accuracy": 3 / 4,
            "balanced_accuracy": (2 / 3 + 1) / 2,
            "precision": (1 + 1 / 2) / 2,
            "recall": (2 / 3 + 1) / 2,
            "f1": (4 / 5 + 2 / 3) / 2,
        }
    )


def test_ranking_and_correlation_by_hand() -> None:
    """One of the three pairs of classes is in the wrong order: 0.7 stands above 0.6."""
    values = evaluate(("auroc", "matthews"), "classification", PROBABILITIES, CLASSES)
    # true 0: 2 right, 1 wrong; true 1: 1 right, 0 wrong
    assert values == pytest.approx({"auroc": 2 / 3, "matthews": 2 / math.sqrt(3 * 1 * 2 * 2)})


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    """All rows are 0.75 sure, and half of them are right."""
    sure = torch.tensor([[0.75, 0.25], [0.75, 0.25]])
    values = evaluate(("calibration_error",), "classification", sure, torch.tensor([0, 1]))
    assert values == pytest.approx({"calibration_error": 0.25})


def test_regression_metrics_by_hand() -> None:
    names = ("mse", "rmse", "mae", "r2")
    assert evaluate(names, "regression", VALUES, TRUE_VALUES) == pytest.approx(
        {"mse": 2.0, "rmse": math.sqrt(2), "mae": 4 / 3, "r2": 1 - 6 / 8}
    )


def test_regression_metrics_of_two_outputs_are_averaged() -> None:
    """The second output is predicted exactly."""
    predictions = torch.cat([VALUES, TRUE_VALUES], dim=1)
    labels = torch.cat([TRUE_VALUES, TRUE_VALUES], dim=1)
    names = ("mse", "rmse", "mae", "r2")
    assert evaluate(names, "regression", predictions, labels) == pytest.approx(
        {"mse": 1.0, "rmse": 1.0, "mae": 2 / 3, "r2": (1 / 4 + 1) / 2}
    )


@pytest.mark.parametrize("name", METRICS["classification"])
def test_perfect_classes_are_best_in_every_metric(name: str) -> None:
    sure = torch.eye(3)[torch.tensor([0, 1, 2, 2])]
    values = evaluate((name,), "classification", sure, torch.tensor([0, 1, 2, 2]))
    best = 0.0 if METRICS["classification"][name].mode == "min" else 1.0
    assert values == pytest.approx({name: best})

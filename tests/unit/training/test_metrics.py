import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch

from rayfold.data import DataSet, Fold, FoldPlan
from rayfold.errors import DataError, ModelError, RecipeError
from rayfold.tasks import Classification, Regression, Task
from rayfold.training import metrics
from rayfold.training.metrics import check_defined, find_metrics, metric_mode

# Classes 0 0 0 1 are predicted as 0 0 1 1.
PROBABILITIES = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
CLASSES = torch.tensor([0, 0, 0, 1])

# Errors 1, -1, 2; the labels' mean is 2 and their squared deviations sum to 8.
VALUES = torch.tensor([[1.0], [1.0], [6.0]])
TRUE_VALUES = torch.tensor([[0.0], [2.0], [4.0]])


def evaluate(
    names: Sequence[str], task: Task, predictions: torch.Tensor, labels: torch.Tensor
) -> dict[str, float]:
    return metrics.evaluate(find_metrics(names, task), task, predictions, labels)


def test_a_metric_named_twice_counts_once() -> None:
    assert [*find_metrics(("f1", "accuracy", "f1"), Classification())] == ["f1", "accuracy"]


def test_a_misspelt_metric_gets_a_hint() -> None:
    with pytest.raises(ModelError, match=r"'acuracy' is unknown for .*\(did you mean 'accuracy'"):
        find_metrics(("acuracy",), Classification())


def test_a_metric_of_the_other_task_is_refused() -> None:
    with pytest.raises(
        ModelError, match=r"'r2' is unknown for classification; choose from accuracy"
    ):
        find_metrics(("accuracy", "r2"), Classification())


def test_the_mode_belongs_to_the_metric() -> None:
    of_classes = find_metrics(("accuracy",), Classification())
    assert metric_mode("val_loss", of_classes) == "min"
    assert metric_mode("val_accuracy", of_classes) == "max"
    of_values = find_metrics(("rmse", "r2"), Regression())
    assert metric_mode("val_rmse", of_values) == "min"
    assert metric_mode("val_r2", of_values) == "max"


def test_a_metric_that_is_not_computed_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"'val_f1' is not computed.*one of val_loss, val_accur"):
        metric_mode("val_f1", find_metrics(("accuracy",), Classification()))


def test_classification_metrics_by_hand() -> None:
    """Class 0: precision 1, recall 2/3, F1 4/5. Class 1: precision 1/2, recall 1, F1 2/3."""
    names = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
    assert evaluate(names, Classification(), PROBABILITIES, CLASSES) == pytest.approx(
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
    values = evaluate(("auroc", "matthews"), Classification(), PROBABILITIES, CLASSES)
    # true 0: 2 right, 1 wrong; true 1: 1 right, 0 wrong
    assert values == pytest.approx({"auroc": 2 / 3, "matthews": 2 / math.sqrt(3 * 1 * 2 * 2)})


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    """All rows are 0.75 sure, and half of them are right."""
    sure = torch.tensor([[0.75, 0.25], [0.75, 0.25]])
    values = evaluate(("calibration_error",), Classification(), sure, torch.tensor([0, 1]))
    assert values == pytest.approx({"calibration_error": 0.25})


def test_regression_metrics_by_hand() -> None:
    names = ("mse", "rmse", "mae", "r2")
    assert evaluate(names, Regression(), VALUES, TRUE_VALUES) == pytest.approx(
        {"mse": 2.0, "rmse": math.sqrt(2), "mae": 4 / 3, "r2": 1 - 6 / 8}
    )


def test_regression_metrics_of_two_outputs_are_averaged() -> None:
    """The second output is predicted exactly."""
    predictions = torch.cat([VALUES, TRUE_VALUES], dim=1)
    labels = torch.cat([TRUE_VALUES, TRUE_VALUES], dim=1)
    names = ("mse", "rmse", "mae", "r2")
    assert evaluate(names, Regression(), predictions, labels) == pytest.approx(
        {"mse": 1.0, "rmse": math.sqrt(2) / 2, "mae": 2 / 3, "r2": (1 / 4 + 1) / 2}
    )


@pytest.mark.parametrize("name", Classification.metrics)
def test_perfect_classes_are_best_in_every_metric(name: str) -> None:
    sure = torch.eye(3)[torch.tensor([0, 1, 2, 2])]
    values = evaluate((name,), Classification(), sure, torch.tensor([0, 1, 2, 2]))
    best = 0.0 if Classification.metrics[name].mode == "min" else 1.0
    assert values == pytest.approx({name: best})


def test_classes_without_rows_count_for_nothing() -> None:
    """All rows of classes 0 and 1 are in order; class 2 has none."""
    probabilities = torch.tensor(
        [[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]]
    )
    labels = torch.tensor([0, 0, 1, 1])
    assert evaluate(("auroc",), Classification(), probabilities, labels) == {"auroc": 1.0}
    flipped = torch.eye(3)[torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 2, 2])]  # 8 of 10 right
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, 0])
    values = evaluate(("balanced_accuracy",), Classification(), flipped, labels)
    assert values == pytest.approx({"balanced_accuracy": (5 / 6 + 3 / 4) / 2})


def degenerate_rows(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A few rows: absent classes, a single row or class, equal rows, ties and sure ones."""
    random = np.random.default_rng(seed)
    rows, classes = int(random.integers(1, 9)), int(random.integers(2, 6))
    labels = random.integers(0, random.integers(1, classes + 1), rows)
    probabilities = random.dirichlet(np.ones(classes), rows)
    kind = seed % 4
    if kind == 1:
        probabilities[:] = probabilities[0]
    elif kind == 2:
        probabilities = np.round(probabilities * 4) + 1e-3
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    elif kind == 3:
        probabilities = np.eye(classes)[random.integers(0, classes, rows)]
    return torch.from_numpy(probabilities), torch.from_numpy(labels)


@pytest.mark.filterwarnings("ignore:::sklearn")
@pytest.mark.filterwarnings("ignore:::numpy")
def test_classification_agrees_with_scikit_learn_however_few_the_rows() -> None:
    metrics = sklearn.metrics
    for seed in range(400):
        probabilities, labels = degenerate_rows(seed)
        names = tuple(Classification.metrics)
        found = evaluate(names, Classification(), probabilities, labels)
        truth, guesses = labels.numpy(), probabilities.numpy().argmax(1)
        macro: dict[str, Any] = {"average": "macro", "zero_division": 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = {
                "accuracy": metrics.accuracy_score(truth, guesses),
                "balanced_accuracy": metrics.balanced_accuracy_score(truth, guesses),
                "f1": metrics.f1_score(truth, guesses, **macro),
                "precision": metrics.precision_score(truth, guesses, **macro),
                "recall": metrics.recall_score(truth, guesses, **macro),
                "matthews": metrics.matthews_corrcoef(truth, guesses),
            }
        assert found.pop("calibration_error") >= 0
        present = np.unique(truth)
        if len(present) > 1:  # scikit-learn's own mean is undefined where a class is absent
            columns = probabilities.numpy()[:, present]
            expected["auroc"] = metrics.roc_auc_score(
                truth[:, None] == present, columns, average="macro"
            )
        assert found == pytest.approx(expected), seed


def test_regression_agrees_with_scikit_learn_however_few_the_rows() -> None:
    metrics = sklearn.metrics
    for seed in range(200):
        random = np.random.default_rng(seed)
        shape = int(random.integers(1, 5)), int(random.integers(1, 3))
        labels, values = random.normal(size=shape), random.normal(size=shape)
        if seed % 2:
            labels[:] = labels[0]
        if seed % 3 == 0:
            values = labels + 0.0
        found = evaluate(
            tuple(Regression.metrics),
            Regression(),
            torch.from_numpy(values),
            torch.from_numpy(labels),
        )
        expected = {
            "mse": metrics.mean_squared_error(labels, values),
            "rmse": metrics.root_mean_squared_error(labels, values),
            "mae": metrics.mean_absolute_error(labels, values),
        }
        if shape[0] > 1:
            expected["r2"] = metrics.r2_score(labels, values)
        assert found == pytest.approx(expected), seed


def test_what_is_undefined_is_left_out() -> None:
    one_class = evaluate(("auroc", "accuracy"), Classification(), PROBABILITIES[:2], CLASSES[:2])
    assert one_class == {"accuracy": 1.0}
    assert evaluate(("r2", "mae"), Regression(), VALUES[:1], TRUE_VALUES[:1]) == {"mae": 1.0}
    assert evaluate(("mae",), Regression(), VALUES * torch.nan, TRUE_VALUES) == {}


def test_a_probability_above_1_by_rounding_changes_no_metric() -> None:
    """A mean of float32 may be 1.0000001; logits would be another thing."""
    exact = torch.tensor([[1.0, 0.0], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]], dtype=torch.float64)
    rounded = exact.clone()
    rounded[0] += torch.tensor([1e-7, -1e-9])
    task = Classification()
    names = tuple(task.metrics)
    assert evaluate(names, task, rounded, CLASSES) == evaluate(names, task, exact, CLASSES)


def plan_of(labels: list[Any], task: Any, *validation: list[int]) -> tuple[FoldPlan, DataSet]:
    rows = np.arange(len(labels))
    data = DataSet(
        features=(np.zeros((len(labels), 1), np.float32),),
        feature_names=("x",),
        labels=np.array(labels),
        row_groups=None,
        task=task,
        classes=("cat", "dog") if task == Classification() else None,
        digest="d" * 64,
        development_rows=rows,
        test_rows=np.arange(0),
    )
    folds = tuple(
        Fold(index, np.setdiff1d(rows, chosen), np.array(chosen))
        for index, chosen in enumerate(validation)
    )
    return FoldPlan(folds, digest="f" * 64), data


def test_a_study_whose_metric_is_undefined_in_a_fold_is_refused() -> None:
    plan, data = plan_of([0, 1, 1, 1], Classification(), [0, 1], [2, 3])
    with pytest.raises(DataError, match=r"fold 1: val_auroc is undefined.*'dog'; use fewer folds"):
        check_defined("val_auroc", Classification.metrics["auroc"], plan, data)
    check_defined("val_accuracy", Classification.metrics["accuracy"], plan, data)
    plan, data = plan_of([[0.0], [1.0], [2.0]], Regression(), [0, 1], [2])
    with pytest.raises(DataError, match=r"fold 1: val_r2 is undefined.*single validation row"):
        check_defined("val_r2", Regression.metrics["r2"], plan, data)


def test_of_a_part_only_the_rows_that_count_decide() -> None:
    plan, data = plan_of([0, 1, 0, 1], Classification(), [0, 1])
    [fold] = plan.folds
    scored = Fold(0, fold.training_rows, fold.validation_rows, np.array([True, False]))
    with pytest.raises(DataError, match=r"class 'cat'"):
        check_defined(
            "val_auroc",
            Classification.metrics["auroc"],
            FoldPlan((scored,), digest="f" * 64),
            data,
        )

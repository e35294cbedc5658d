"""How sure mean probabilities are made."""

import numpy as np
import pytest
from numpy.typing import NDArray

from rayfold.ensemble import Best, OutOfFold
from rayfold.ensemble.evaluation.temperature import fit_temperature
from rayfold.tasks import Classification, Regression

CLASSES = Classification()


def of_two(first: float, num_rows: int) -> NDArray[np.float64]:
    return np.tile([first, 1 - first], (num_rows, 1))


def test_probabilities_of_many_rows_become_as_sure_as_they_are_right() -> None:
    """They say 0.6, and 9 of 10 are right: logarithms of odds of 0.405 and 2.197."""
    target = np.arange(10_000) % 10 // 9
    temperature = fit_temperature(of_two(0.6, len(target)), target, task=CLASSES)
    assert temperature == pytest.approx(np.log(0.6 / 0.4) / np.log(9), rel=0.02)


def test_what_is_too_sure_gets_less_sure() -> None:
    target = np.arange(1000) % 10 // 9
    assert fit_temperature(of_two(0.99, len(target)), target, task=CLASSES) > 1.5


def test_few_rows_that_are_all_right_make_nothing_certain() -> None:
    right = fit_temperature(of_two(0.9, 5), np.zeros(5, np.int64), task=CLASSES)
    assert 0.8 < right < 1
    many = np.zeros(10_000, np.int64)
    assert fit_temperature(of_two(0.9, 10_000), many, task=CLASSES) < 0.3


def test_a_mean_of_values_is_left_as_it_is() -> None:
    values = np.array([[[1.0]], [[4.0]]], np.float32)
    out_of_fold = OutOfFold(
        task=Regression(),
        predictions=values,
        present=np.ones((2, 1), bool),
        complete=np.ones(2, bool),
        target=np.array([[2.0]], np.float32),
        folds=np.zeros(1, np.int64),
    )
    assert Best(2).build(out_of_fold).predict(out_of_fold).tolist() == [[2.5]]


def test_a_calibrated_mean_has_a_lower_loss_and_the_same_classes() -> None:
    """Of ten models, each with noise of its own."""
    generator = np.random.default_rng(0)
    target = generator.integers(3, size=600)
    logits = 2 * np.eye(3)[target] + 1.5 * generator.normal(size=(10, 600, 3))
    predictions = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    out_of_fold = OutOfFold(
        task=Classification(),
        predictions=predictions.astype(np.float32),
        present=np.ones((10, 600), bool),
        complete=np.ones(10, bool),
        target=target,
        folds=np.arange(600) % 3,
    )
    raw, calibrated = (
        Best(10, calibrate=flag).build(out_of_fold).predict(out_of_fold) for flag in (False, True)
    )
    before, after = (CLASSES.row_losses(each, target).mean() for each in (raw, calibrated))
    assert after < before - 0.05
    assert (calibrated.argmax(axis=1) == raw.argmax(axis=1)).all()

import math

import numpy as np
import pytest

from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.tasks import Classification, Regression

TRUE_CLASS = np.array([[0.95, 0.40], [0.30, 0.95], [0.90, 0.40]])  # (candidates, rows)


def test_losses_are_mean_negative_logs_of_the_true_class() -> None:
    out_of_fold = OutOfFold(
        task=Classification(),
        predictions=np.stack([TRUE_CLASS, 1 - TRUE_CLASS], axis=-1).astype(np.float32),
        present=np.ones((3, 2), bool),
        complete=np.ones(3, bool),
        target=np.zeros(2, np.int64),
        folds=np.arange(2),
    )
    expected = [-(math.log(a) + math.log(b)) / 2 for a, b in TRUE_CLASS]
    assert out_of_fold.losses() == pytest.approx(expected)
    assert [round(loss, 3) for loss in expected] == [0.484, 0.628, 0.511]


def test_a_candidate_that_lacks_rows_is_compared_on_those_that_it_has() -> None:
    """Errors of 1 and 9 on an easy and a hard row; another has 2 on the easy one: 1 more."""
    out_of_fold = OutOfFold(
        task=Regression(),
        predictions=np.array([[[1.0], [3.0]], [[math.sqrt(2)], [0.0]]], np.float32),
        present=np.array([[True, True], [True, False]]),
        complete=np.array([True, False]),
        target=np.zeros((2, 1), np.float32),
        folds=np.arange(2),
    )
    assert out_of_fold.losses() == pytest.approx([5.0, 6.0])


def test_every_output_counts_alike() -> None:
    predictions = np.array([[[0.0, 0.0]], [[1.0, 2.0]]])
    losses = Regression().row_losses(predictions, np.array([[0.0, 2.0]]))
    assert losses.tolist() == [[2.0], [0.5]]


def test_parts_of_the_average_are_averages_of_parts() -> None:
    """Probabilities of the true class, differences to the values; 0 where there is none."""
    present = np.array([[True, True], [True, False]])
    shared: dict[str, np.ndarray] = {
        "present": present,
        "complete": np.all(present, axis=1),
        "folds": np.arange(2),
    }
    classes = OutOfFold(
        task=Classification(),
        predictions=np.array([[[0.9, 0.1], [0.8, 0.2]], [[0.7, 0.3], [0.6, 0.4]]], np.float32),
        target=np.array([0, 1]),
        **shared,
    )
    assert classes.parts()[..., 0] == pytest.approx(np.array([[0.9, 0.2], [0.7, 0.0]]))
    values = OutOfFold(
        task=Regression(),
        predictions=np.array([[[1.0], [2.0]], [[3.0], [4.0]]], np.float32),
        target=np.array([[1.0], [1.0]], np.float32),
        **shared,
    )
    assert values.parts()[..., 0].tolist() == [[0.0, 1.0], [2.0, 0.0]]

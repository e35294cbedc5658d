import math

import numpy as np
import pytest

from rayfold.ensemble import Convex, OutOfFold
from rayfold.errors import RecipeError
from rayfold.tasks import Classification, Regression


def of_values(values: np.ndarray, target: np.ndarray) -> OutOfFold:
    return OutOfFold(
        task=Regression(),
        predictions=values.astype(np.float32),
        present=np.ones(values.shape[:2], bool),
        complete=np.ones(len(values), bool),
        target=target.astype(np.float32),
        folds=np.arange(len(target)),
    )


def test_values_get_the_weights_that_hit_the_target() -> None:
    """A quarter of 0 and three quarters of 4 are 3, on both rows."""
    values = np.array([[[0.0], [0.0]], [[4.0], [4.0]]])
    selection = Convex(penalty=0.0).build(of_values(values, np.full((2, 1), 3.0)))
    shares = dict(zip(selection.candidates, selection.combination.shares, strict=True))
    assert shares == pytest.approx({0: 0.25, 1: 0.75}, abs=1e-3)


def test_probabilities_get_the_weights_of_least_log_loss() -> None:
    """Maximises log(w a + (1 - w) b) over two rows that mirror each other: w is a half."""
    true_class = np.array([[0.8, 0.2], [0.2, 0.8]])
    out_of_fold = OutOfFold(
        task=Classification(),
        predictions=np.stack([true_class, 1 - true_class], axis=-1).astype(np.float32),
        present=np.ones((2, 2), bool),
        complete=np.ones(2, bool),
        target=np.zeros(2, np.int64),
        folds=np.arange(2),
    )
    assert Convex().build(out_of_fold).combination.shares == pytest.approx([0.5, 0.5])


def test_the_penalty_draws_toward_equal_weights_and_the_less_the_more_rows_there_are() -> None:
    def shares_of_the_best(num_rows: int, penalty: float) -> float:
        values = np.stack([np.full((num_rows, 1), 0.1), np.full((num_rows, 1), 1.0)])
        built = Convex(penalty=penalty).build(of_values(values, np.zeros((num_rows, 1))))
        assert built.candidates[0] == 0
        return built.combination.shares[0]

    few, many = shares_of_the_best(4, 1.0), shares_of_the_best(400, 1.0)
    assert 0.5 < few < many < 1
    assert shares_of_the_best(4, 0.0) > few


def test_the_only_one_that_has_all_rows_stays_however_much_better_another_is() -> None:
    """Candidate 1 is right on the row that it has; the other row has candidate 0 alone."""
    out_of_fold = OutOfFold(
        task=Regression(),
        predictions=np.array([[[9.0], [9.0]], [[0.0], [0.0]]], np.float32),
        present=np.array([[True, True], [True, False]]),
        complete=np.array([True, False]),
        target=np.zeros((2, 1), np.float32),
        folds=np.arange(2),
    )
    selection = Convex(penalty=0.0).build(out_of_fold)
    assert selection.candidates == (1, 0)
    assert selection.predict(out_of_fold)[:, 0] == pytest.approx([0.0, 9.0], abs=0.1)


def test_only_the_best_are_candidates() -> None:
    values = np.array([[[1.0]], [[-9.0]], [[2.0]]])
    selection = Convex(2).build(of_values(values, np.zeros((1, 1))))
    assert set(selection.candidates) <= {0, 2}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"num_candidates": 0}, "num_candidates must be a whole number from 1 to 10{9}, got 0"),
        ({"penalty": math.nan}, "penalty must be a number from 0 to 10{9}, got nan"),
    ],
)
def test_wrong_arguments_are_told(arguments: dict[str, float], match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        Convex(**arguments)  # type: ignore[arg-type]

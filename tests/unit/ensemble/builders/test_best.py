import math

import numpy as np
import pytest

from rayfold.ensemble import Best, OutOfFold
from rayfold.errors import RecipeError
from rayfold.tasks import Classification


def constant(*true_class: float) -> OutOfFold:
    """Candidates that give the only row's class a probability each."""
    probabilities = np.array(true_class)[:, None]
    return OutOfFold(
        task=Classification(),
        predictions=np.stack([probabilities, 1 - probabilities], axis=-1).astype(np.float32),
        present=np.ones((len(true_class), 1), bool),
        complete=np.ones(len(true_class), bool),
        target=np.zeros(1, np.int64),
        folds=np.zeros(1, np.int64),
    )


def test_the_best_ones_count_alike() -> None:
    selection = Best(2).build(constant(0.2, 0.9, 0.5, 0.4))
    assert (selection.candidates, selection.combination.shares) == ((1, 2), (0.5, 0.5))


def test_by_score_the_best_counts_twice_as_much_as_one_at_the_median_distance() -> None:
    """Losses of 0, 1 and 3: distances of 1 and 3 with a median of 2."""
    selection = Best(3, weighting="score").build(constant(1.0, math.exp(-1), math.exp(-3)))
    expected = np.array([1, 1 / 1.5, 1 / 2.5])
    assert selection.combination.shares == pytest.approx(expected / expected.sum(), rel=1e-6)


def test_equal_ones_count_alike_by_score() -> None:
    assert Best(2, weighting="score").build(constant(0.5, 0.5)).combination.shares == (0.5, 0.5)


def test_fewer_candidates_than_members_are_all_taken() -> None:
    assert len(Best(10).build(constant(0.2, 0.9)).candidates) == 2


def test_one_that_has_all_rows_is_always_among_them() -> None:
    out_of_fold = OutOfFold(
        task=Classification(),
        predictions=np.array([[[0.5, 0.5], [0.5, 0.5]], [[0.9, 0.1], [0.0, 0.0]]], np.float32),
        present=np.array([[True, True], [True, False]]),
        complete=np.array([True, False]),
        target=np.zeros(2, np.int64),
        folds=np.arange(2),
    )
    assert Best(1).build(out_of_fold).candidates == (0,)
    both = Best(2, calibrate=False).build(out_of_fold)
    assert both.predict(out_of_fold)[:, 0] == pytest.approx([0.7, 0.5])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"num_members": 0}, "num_members must be a whole number from 1 to 10{9}, got 0"),
        ({"calibrate": None}, "calibrate must be true or false, got None"),
        ({"weighting": "scores"}, "weighting must be one of uniform, score, got 'scores'"),
    ],
)
def test_wrong_arguments_are_told(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        Best(**arguments)  # type: ignore[arg-type]

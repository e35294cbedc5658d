import math
from typing import Any

import numpy as np
import pytest

from rayfold.ensemble import Greedy, OutOfFold
from rayfold.errors import RecipeError
from rayfold.tasks import Classification, Regression

TRUE_CLASS = np.array([[0.95, 0.40], [0.30, 0.95], [0.90, 0.40]])  # (candidates, rows)


def of_true_class(true_class: np.ndarray, present: np.ndarray | None = None) -> OutOfFold:
    """Two classes; every row is of class 0."""
    present = np.ones(true_class.shape, bool) if present is None else present
    return OutOfFold(
        task=Classification(),
        predictions=np.stack([true_class, 1 - true_class], axis=-1).astype(np.float32),
        present=present,
        complete=np.all(present, axis=1),
        target=np.zeros(true_class.shape[1], np.int64),
        folds=np.arange(true_class.shape[1]),
    )


def of_values(values: np.ndarray, target: np.ndarray) -> OutOfFold:
    return OutOfFold(
        task=Regression(),
        predictions=values.astype(np.float32),
        present=np.ones(values.shape[:2], bool),
        complete=np.ones(len(values), bool),
        target=target.astype(np.float32),
        folds=np.arange(len(target)),
    )


def pure(num_rounds: int, **options: Any) -> Greedy:
    """The selection alone: not drawn to a mean, not calibrated."""
    return Greedy(num_rounds, **{"prior_rows": 0, "calibrate": False, **options})


def weights(builder: Greedy, out_of_fold: OutOfFold) -> dict[int, float]:
    selection = builder.build(out_of_fold)
    return dict(zip(selection.candidates, selection.combination.shares, strict=True))


def test_second_pick_is_the_complement_not_the_runner_up() -> None:
    """Candidate 2 is second best alone (0.511 against 0.628), yet 0 with 1 averages best."""
    assert weights(pure(2), of_true_class(TRUE_CLASS)) == {0: 0.5, 1: 0.5}


def test_a_candidate_that_beats_every_mixture_is_chosen_again() -> None:
    assert weights(pure(3), of_true_class(np.array([[0.9], [0.5]]))) == {0: 1.0}


def test_one_that_is_chosen_twice_weighs_twice() -> None:
    """1 is off by 1 and 4 by 2; (1 + 4) / 2 is off by 0.5, and (1 + 1 + 4) / 3 hits."""
    out_of_fold = of_values(np.array([[[1.0]], [[4.0]]]), np.array([[2.0]]))
    assert weights(pure(3), out_of_fold) == pytest.approx({0: 2 / 3, 1: 1 / 3})


def test_the_best_ones_can_be_set_to_start_from() -> None:
    """0 and 2 are the best two alone; 1 joins them."""
    chosen = weights(pure(3, num_start=2), of_true_class(TRUE_CLASS))
    assert chosen == pytest.approx({0: 1 / 3, 1: 1 / 3, 2: 1 / 3})


def test_few_rows_draw_the_weights_toward_the_plain_mean_of_the_best() -> None:
    """Two rows and two that count as prior: half of (1, 0) and half of (1/2, 1/2).

    The best two of six are a third. With one round there is room for one alone.
    """
    good = np.array([[0.9, 0.9], [0.5, 0.5]])
    out_of_fold = of_true_class(np.concatenate([good, np.full((4, 2), 0.1)]))
    drawn = weights(pure(2, prior_rows=2), out_of_fold)
    assert drawn == pytest.approx({0: 0.75, 1: 0.25})
    assert weights(pure(1, prior_rows=2), out_of_fold) == {0: 1.0}


def test_the_worst_of_few_candidates_are_no_part_of_that_mean() -> None:
    out_of_fold = of_true_class(np.array([[0.9, 0.9], [0.5, 0.5], [0.1, 0.1]]))
    assert weights(pure(9, prior_rows=1000), out_of_fold) == {0: 1.0}


def test_only_calibrated_means_have_that_prior_by_themselves() -> None:
    """Of values, and of means that stay as they are, the complement counts as was chosen."""
    chosen = {0: 0.5, 1: 0.5}
    out_of_fold = of_true_class(TRUE_CLASS)
    assert weights(Greedy(2, calibrate=False), out_of_fold) == chosen
    assert weights(Greedy(2), of_values(TRUE_CLASS[..., None], np.ones((2, 1)))) == chosen
    assert weights(Greedy(1), out_of_fold) == {0: 1.0}
    wide = of_true_class(np.concatenate([TRUE_CLASS, np.full((9, 2), 0.1)]))
    assert weights(Greedy(4), wide).keys() > weights(Greedy(4, prior_rows=0), wide).keys()


def test_bags_are_averaged() -> None:
    """Of parts of two candidates, those without the best one choose others."""
    chosen = weights(pure(1, num_bags=40, bag_fraction=2 / 3), of_true_class(TRUE_CLASS))
    assert set(chosen) == {0, 2}
    assert 0.5 < chosen[0] < 1


def test_one_that_was_stopped_joins_by_the_rows_that_it_has_and_is_never_first() -> None:
    """On row 1 alone it is the best there is, and the average of row 0 is the others' own."""
    true_class = np.array([[0.95, 0.40], [0.0, 0.99]])
    present = np.array([[True, True], [False, True]])
    out_of_fold = of_true_class(true_class, present)
    assert out_of_fold.losses()[1] < out_of_fold.losses()[0]
    selection = pure(2).build(out_of_fold)
    assert sorted(selection.candidates) == [0, 1]
    predictions = selection.predict(out_of_fold)
    assert predictions[:, 0] == pytest.approx([0.95, (0.40 + 0.99) / 2])


def test_a_probability_of_zero_costs_much_and_not_everything() -> None:
    out_of_fold = of_true_class(np.array([[0.0], [0.1]]))
    assert out_of_fold.losses() == pytest.approx([-math.log(2.2e-16), -math.log(0.1)], abs=0.1)
    assert weights(pure(1), out_of_fold) == {1: 1.0}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"num_rounds": 0}, "num_rounds must be a whole number from 1 to 10000, got 0"),
        ({"num_rounds": 2.5}, "num_rounds must be a whole number from 1 to 10000, got 2.5"),
        (
            {"num_rounds": 10**10},
            "num_rounds must be a whole number from 1 to 10000, got 10000000000",
        ),
        (
            {"num_bags": 10**5000},
            "num_bags must be .* from 1 to 1000, got an integer of 16610 bits",
        ),
        ({"num_start": -1}, "num_start must be a whole number from 0 to 10{9}, got -1"),
        ({"num_bags": True}, "num_bags must be a whole number from 1 to 1000, got True"),
        ({"bag_fraction": 0}, "bag_fraction must be a number above 0, at most 1, got 0"),
        ({"bag_fraction": math.nan}, "bag_fraction must be a number above 0, at most 1, got nan"),
        ({"calibrate": 1}, "calibrate must be true or false, got 1"),
        ({"prior_rows": math.inf}, "prior_rows must be a number from 0 to 10{9}, got inf"),
    ],
)
def test_wrong_arguments_are_told(arguments: dict[str, float], match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        Greedy(**arguments)  # type: ignore[arg-type]

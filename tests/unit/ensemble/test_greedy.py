import math

import numpy as np
import pytest

from rayfold.ensemble.greedy import averaged_loss, greedy_selection, member_losses

TRUE_CLASS = np.array([[0.95, 0.40], [0.30, 0.95], [0.90, 0.40]])  # (members, rows)
PREDICTIONS = np.stack([TRUE_CLASS, 1 - TRUE_CLASS], axis=-1)
TARGET = np.zeros(2, dtype=np.int64)


def test_member_losses_are_mean_negative_logs_of_the_true_class() -> None:
    expected = [-(math.log(a) + math.log(b)) / 2 for a, b in TRUE_CLASS]
    assert member_losses(PREDICTIONS, TARGET) == pytest.approx(expected)
    assert [round(loss, 3) for loss in expected] == [0.484, 0.628, 0.511]


def test_second_pick_is_the_complement_not_the_runner_up() -> None:
    """Member 2 is second best alone (0.511 against 0.628), yet 0 with 1 averages best."""
    assert greedy_selection(PREDICTIONS, TARGET, num_rounds=2) == [0, 1]


def test_the_averaged_loss_is_that_of_the_averaged_probabilities() -> None:
    """Halves of members 0 and 1: 0.625 and 0.675."""
    loss = averaged_loss(PREDICTIONS, TARGET, np.array([0.5, 0.5, 0.0]))
    assert loss == pytest.approx(-(math.log(0.625) + math.log(0.675)) / 2)


def test_a_member_that_beats_every_mixture_is_chosen_again() -> None:
    predictions = np.array([[[0.9, 0.1]], [[0.5, 0.5]]])
    assert greedy_selection(predictions, np.array([0]), num_rounds=3) == [0, 0, 0]


def test_ties_go_to_the_lower_index() -> None:
    predictions = np.array([[[0.5, 0.5]], [[0.7, 0.3]], [[0.7, 0.3]]])
    assert greedy_selection(predictions, np.array([0]), num_rounds=2) == [1, 1]


def test_values_are_averaged_to_the_target_by_squared_error() -> None:
    """1 is off by 1 and 4 by 2; (1 + 4) / 2 is off by 0.5, and (1 + 1 + 4) / 3 hits."""
    predictions = np.array([[[1.0]], [[4.0]]])
    target = np.array([[2.0]])
    assert member_losses(predictions, target).tolist() == [1.0, 4.0]
    assert greedy_selection(predictions, target, num_rounds=3) == [0, 1, 0]
    assert averaged_loss(predictions, target, np.array([2 / 3, 1 / 3])) == pytest.approx(0)


def test_every_output_counts_alike() -> None:
    predictions = np.array([[[0.0, 0.0]], [[1.0, 2.0]]])
    target = np.array([[0.0, 2.0]])
    assert member_losses(predictions, target).tolist() == [2.0, 0.5]


def test_a_probability_of_zero_costs_much_and_not_everything() -> None:
    predictions = np.array([[[0.0, 1.0]], [[0.1, 0.9]]])
    assert member_losses(predictions, np.array([0]))[0] == pytest.approx(36.04, abs=0.01)
    assert greedy_selection(predictions, np.array([0]), num_rounds=1) == [1]


def test_single_precision_is_summed_in_double() -> None:
    predictions = PREDICTIONS.astype(np.float32)
    assert member_losses(predictions, TARGET).dtype == np.float64
    assert greedy_selection(predictions, TARGET, num_rounds=2) == [0, 1]


def test_indices_are_plain_integers() -> None:
    assert [type(i) for i in greedy_selection(PREDICTIONS, TARGET, num_rounds=1)] == [int]


@pytest.mark.parametrize(
    ("predictions", "target", "num_rounds", "match"),
    [
        (PREDICTIONS, TARGET, 0, "num_rounds must be at least 1, got 0"),
        (PREDICTIONS, np.zeros(5, int), 1, r"hold 2 rows of 2 outputs but target has shape \(5,"),
        (PREDICTIONS, np.zeros((2, 1)), 1, r"but target has shape \(2, 1\)"),
        (PREDICTIONS[0], TARGET, 1, r"expected|must have shape \(members, rows, outputs\)"),
        (PREDICTIONS[:0], TARGET, 1, r"at least one member, got \(0, 2, 2\)"),
        (PREDICTIONS, np.array([0, 2]), 1, "classes 0 to 2, but predictions have 2 classes"),
        (np.where(PREDICTIONS == 0.9, np.nan, PREDICTIONS), TARGET, 1, "of member 2 are not fin"),
    ],
)
def test_wrong_arguments_are_told(
    predictions: np.ndarray, target: np.ndarray, num_rounds: int, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        greedy_selection(predictions, target, num_rounds=num_rounds)

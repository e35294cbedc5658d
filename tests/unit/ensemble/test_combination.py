"""Combinations of members that are means of several models."""

from functools import partial

import pytest
import torch

from rayfold.ensemble.combination import (
    Combination,
    Stacking,
    WeightedMean,
    combination_from_state,
)
from rayfold.tasks import Classification, Regression

PARTS = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
"""Two members: the mean of the first two models, and the third one alone."""

PREDICTIONS = torch.tensor(
    [[[0.9, 0.1]], [[0.5, 0.5]], [[0.2, 0.8]]], dtype=torch.float64
)  # (models, rows, classes)


def stacking() -> Stacking:
    coefficients = torch.tensor([[[1.0, 0.0], [0.5, 0.0]], [[0.0, 1.0], [0.0, 0.5]]])
    return Stacking(coefficients, torch.tensor([0.25, 0.0]), Classification())


@pytest.mark.parametrize(
    "combination",
    [
        WeightedMean(torch.tensor([0.75, 0.25])),
        WeightedMean(torch.tensor([0.75, 0.25]), 0.5),
        stacking(),
    ],
    ids=["mean", "tempered", "stacking"],
)
def test_models_are_averaged_before_they_are_combined(combination: Combination) -> None:
    of_models = combination.of_parts(PARTS)
    means = torch.einsum("pm,mro->pro", PARTS, PREDICTIONS)
    assert torch.allclose(of_models(PREDICTIONS), combination(means))


def test_a_weight_is_split_over_the_parts_of_its_member() -> None:
    mean = WeightedMean(torch.tensor([0.75, 0.25])).of_parts(PARTS)
    assert mean.shares == (0.375, 0.375, 0.25)
    assert stacking().of_parts(PARTS).shares == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_a_temperature_of_a_half_squares_mean_probabilities() -> None:
    """Of 0.6 and 0.4: 0.36 to 0.16. It comes back from the state, and values have none."""
    mean = WeightedMean(torch.tensor([0.25, 0.75]), 0.5)
    predictions = torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]]], dtype=torch.float64)
    expected = torch.tensor([[0.36, 0.16]], dtype=torch.float64) / 0.52
    assert torch.allclose(mean(predictions), expected)
    again = partial(combination_from_state, "weighted_mean", num_members=2, num_outputs=2)
    read = again(mean.state_dict(), task=Classification())
    assert torch.equal(read(predictions), mean(predictions))
    with pytest.raises(ValueError, match="no combination 'weighted_mean' has tensors of shapes"):
        again(mean.state_dict(), task=Regression())
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        state = WeightedMean(torch.tensor([0.25, 0.75]), wrong).state_dict()
        with pytest.raises(ValueError, match=r"the temperature is .*, expected one above 0"):
            again(state, task=Classification())


def test_stacked_parts_come_back_from_their_state() -> None:
    of_models = stacking().of_parts(PARTS)
    again = combination_from_state(
        "stacking",
        of_models.state_dict(),
        task=Classification(),
        num_members=3,
        num_outputs=2,
    )
    assert torch.equal(again(PREDICTIONS), of_models(PREDICTIONS))


def test_parts_of_another_number_of_models_are_refused() -> None:
    state = stacking().of_parts(PARTS).state_dict()
    with pytest.raises(ValueError, match="no combination 'stacking' has tensors of shapes"):
        combination_from_state(
            "stacking", state, task=Classification(), num_members=4, num_outputs=2
        )

import math

import numpy as np
import pytest
import torch
from torch import nn

from rayfold.ensemble import Input, Signature
from rayfold.ensemble.combination import Stacking
from rayfold.ensemble.evaluation.uncertainty import of_classes, of_values
from rayfold.ensemble.predictor import EnsembleModule, predict_variants
from rayfold.tasks import Regression

HALVES = np.array([0.5, 0.5])
EVEN = np.array([[0.5, 0.5]])
FEATURES = np.zeros((3, 2), np.float32)
SIGNATURE = Signature(
    task=Regression(),
    inputs=(Input(name="features", shape=(2,), dtype="float32"),),
    num_outputs=1,
    classes=None,
)


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.value.expand(len(features), 1)


def test_models_that_are_sure_of_different_classes_disagree_by_one_bit() -> None:
    found = of_classes(np.array([[[1.0, 0.0]], [[0.0, 1.0]]]), HALVES, EVEN)
    assert found.total == pytest.approx([math.log(2)])
    assert found.data == pytest.approx([0.0])
    assert found.model == pytest.approx([math.log(2)])


def test_models_that_agree_leave_all_of_it_to_the_data() -> None:
    found = of_classes(np.array([[[0.5, 0.5]], [[0.5, 0.5]]]), HALVES, EVEN)
    assert found.data == pytest.approx([math.log(2)])
    assert found.model == pytest.approx([0.0])


def test_what_is_surer_than_the_mean_is_split_as_the_mean_is() -> None:
    """Models that are sure and one that is not; then a row that all are sure of."""
    each = np.array([[[1.0, 0.0], [1.0, 0.0]], [[0.5, 0.5], [1.0, 0.0]]])
    mean = of_classes(each, HALVES, each.mean(axis=0))
    assert mean.data == pytest.approx([math.log(2) / 2, 0.0])
    surer = of_classes(each, HALVES, np.array([[0.9, 0.1], [1.0, 0.0]]))
    assert surer.total[0] == pytest.approx(-0.9 * math.log(0.9) - 0.1 * math.log(0.1))
    assert surer.total == pytest.approx(surer.data + surer.model)
    assert surer.model[0] / surer.total[0] == pytest.approx(mean.model[0] / mean.total[0])


def test_variances_of_values_add_up() -> None:
    """Models at 0 and 4 with weights of 3/4 and 1/4: mean 1, variance 3."""
    values = np.array([[[0.0]], [[4.0]]])
    found = of_values(values, np.array([0.75, 0.25]), np.array([0.5]))
    assert (found.model.tolist(), found.data.tolist(), found.total.tolist()) == (
        [[3.0]],
        [[0.5]],
        [[3.5]],
    )


def test_the_models_of_a_stack_disagree_as_far_as_its_variants_do() -> None:
    """Members at about 1000 and 998, the one less the other: 2 and 4 by their first and second."""
    members = [[Constant(1000.0), Constant(1003.0)], [Constant(998.0), Constant(999.0)]]
    stack = Stacking(torch.tensor([[[1.0], [-1.0]]]), torch.zeros(1), Regression())
    each, weights = predict_variants(EnsembleModule(members, stack, SIGNATURE), [FEATURES])
    assert each == pytest.approx(np.array([[[2.0]] * 3, [[4.0]] * 3]))
    found = of_values(each, weights, np.array([0.5]))
    assert found.model == pytest.approx(np.ones((3, 1)))
    assert found.total == pytest.approx(np.full((3, 1), 1.5))


def test_variants_take_models_of_smaller_bags_in_turn() -> None:
    members = [[Constant(1.0), Constant(2.0), Constant(3.0)], [Constant(10.0), Constant(20.0)]]
    stack = Stacking(torch.tensor([[[1.0], [1.0]]]), torch.zeros(1), Regression())
    each, weights = predict_variants(EnsembleModule(members, stack, SIGNATURE), [FEATURES])
    assert each[:, 0, 0].tolist() == [11.0, 22.0, 13.0]
    assert weights == pytest.approx([1 / 3] * 3)

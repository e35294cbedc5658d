import math

import numpy as np
import pytest

from rayfold.ensemble.uncertainty import of_classes, of_values

HALVES = np.array([0.5, 0.5])


def test_models_that_are_sure_of_different_classes_disagree_by_one_bit() -> None:
    found = of_classes(np.array([[[1.0, 0.0]], [[0.0, 1.0]]]), HALVES)
    assert found.total == pytest.approx([math.log(2)])
    assert found.data == pytest.approx([0.0])
    assert found.model == pytest.approx([math.log(2)])


def test_models_that_agree_leave_all_of_it_to_the_data() -> None:
    found = of_classes(np.array([[[0.5, 0.5]], [[0.5, 0.5]]]), HALVES)
    assert found.data == pytest.approx([math.log(2)])
    assert found.model == pytest.approx([0.0])


def test_variances_of_values_add_up() -> None:
    """Models at 0 and 4 with weights of 3/4 and 1/4: mean 1, variance 3."""
    values = np.array([[[0.0]], [[4.0]]])
    found = of_values(values, np.array([0.75, 0.25]), np.array([0.5]))
    assert (found.model.tolist(), found.data.tolist(), found.total.tolist()) == (
        [[3.0]],
        [[0.5]],
        [[3.5]],
    )

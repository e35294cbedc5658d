import math

import pytest
import torch

from rayfold.errors import ModelError
from rayfold.tasks import TASKS, Classification, Regression
from rayfold.training.losses import build_loss, check_loss


def test_without_a_name_the_task_decides() -> None:
    assert check_loss(None, Classification()) == ("cross_entropy", ("label_smoothing",))
    assert check_loss(None, Regression()) == ("mse", ())


def test_every_loss_fits_its_own_task() -> None:
    for task in TASKS.values():
        assert [check_loss(name, task)[0] for name in task.losses()] == [*task.losses()]


def test_a_loss_of_the_other_task_is_refused() -> None:
    with pytest.raises(ModelError, match=r"loss 'mse' is unknown for classification; choose from"):
        check_loss("mse", Classification())


def test_a_misspelt_loss_gets_a_hint() -> None:
    with pytest.raises(ModelError, match=r"'hubert' .* \(did you mean 'huber'\?\)"):
        check_loss("hubert", Regression())


def test_cross_entropy_is_one_number_per_row() -> None:
    """Scores 0 and log 3 are probabilities 1/4 and 3/4."""
    outputs = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    losses = build_loss(Classification(), "cross_entropy", {})(outputs, torch.tensor([0, 1]))
    assert losses.tolist() == pytest.approx([math.log(4), math.log(4 / 3)])


def test_label_smoothing_reaches_the_loss() -> None:
    """Half the weight is spread over both classes: 3/4 on the label and 1/4 on the other."""
    outputs = torch.tensor([[0.0, math.log(3)]])
    losses = build_loss(Classification(), "cross_entropy", {"label_smoothing": 0.5})(
        outputs, torch.tensor([1])
    )
    assert losses.tolist() == pytest.approx([0.75 * math.log(4 / 3) + 0.25 * math.log(4)])


def test_losses_of_several_outputs_are_averaged_within_the_row() -> None:
    outputs, labels = (
        torch.tensor([[1.0, 5.0], [0.0, 0.0]]),
        torch.tensor([[2.0, 2.0], [0.0, 4.0]]),
    )
    assert build_loss(Regression(), "mse", {})(outputs, labels).tolist() == [5.0, 8.0]
    assert build_loss(Regression(), "mae", {})(outputs, labels).tolist() == [2.0, 2.0]


def test_huber_is_linear_beyond_its_delta() -> None:
    """Below delta e^2 / 2, beyond delta (e - delta / 2), with e = 1 and 6 and delta = 2."""
    losses = build_loss(Regression(), "huber", {"delta": 2.0})(
        torch.tensor([[1.0], [6.0]]), torch.tensor([[0.0], [0.0]])
    )
    assert losses.tolist() == [0.5, 10.0]


def test_smooth_l1_is_huber_divided_by_beta() -> None:
    losses = build_loss(Regression(), "smooth_l1", {"beta": 2.0})(
        torch.tensor([[1.0], [6.0]]), torch.tensor([[0.0], [0.0]])
    )
    assert losses.tolist() == [0.25, 5.0]

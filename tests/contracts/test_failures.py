"""A contract that fails shows the values."""

import pytest
from torch import Tensor, nn

from rayfold.testing import LossContract


class Undecided(nn.Module):
    """A loss that is the same for all outputs, so that its gradient is 0."""

    def __init__(self, *, reduction: str = "none") -> None:
        super().__init__()

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return 0 * nn.functional.cross_entropy(outputs, labels, reduction="none")


class TheContract(LossContract):
    loss = "tests/contracts/test_failures.py:Undecided"


def test_a_contract_that_fails_shows_the_values() -> None:
    """The assert is ``outputs.grad.abs().sum() > 0``."""
    with pytest.raises(AssertionError, match=r"assert tensor\(0\.\) > 0"):
        TheContract().test_its_gradient_is_finite()

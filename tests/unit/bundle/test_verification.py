import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rayfold.bundle import export_bundle
from rayfold.bundle.verification import SCALE, differences
from rayfold.ensemble import Ensemble
from rayfold.errors import BundleError


class Sly(nn.Module):
    """Predicts something else once it is exported."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        outputs = features.sum(1, keepdim=True) + self.bias
        return outputs + 2e-4 if torch.compiler.is_exporting() else outputs


def test_an_export_that_predicts_something_else_fails_and_leaves_nothing(
    regression: Ensemble, tmp_path: Path
) -> None:
    for member in regression.members:
        member.__dict__["models"] = (Sly().eval(),)
    with pytest.raises(
        BundleError, match=r"the exported torch differ from the ensemble by .* in a batch of 1, at"
    ) as raised:
        export_bundle(regression, tmp_path / "bundle", programs=("torch",))
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_tells_how_close_each_form_is(bundle: Path) -> None:
    verified = json.loads((bundle / "manifest.json").read_text())["verified"]
    assert set(verified) == {"weights", "torch", "onnx"}
    assert verified["weights"] == 0
    assert all(difference <= 1e-5 for difference in verified.values())


@pytest.mark.parametrize(
    ("value", "spread", "off", "difference"),
    [
        (0.5, 1.0, 0.25, 0.25),  # a probability: absolute
        (3.0, 8.0, 2.0, 0.25),  # a value within the spread: in standard deviations
        (16.0, 8.0, 2.0, 0.125),  # a larger one: relative to it
        (1e-6, 1e-6, 1e-7, 0.1),  # small values are no closer for being small
        (0.0, 0.0, 0.0, 0.0),
    ],
)
def test_a_difference_is_in_the_targets_standard_deviations(
    value: float, spread: float, off: float, difference: float
) -> None:
    rows = {
        "2/input/0": np.zeros((2, 1), np.float32),
        "2/expected": np.full((2, 1), value),
        SCALE: np.array([spread]),
    }
    found = differences(lambda _: np.array([[value], [value + off]]), rows)
    assert found == {"2": pytest.approx(difference)}

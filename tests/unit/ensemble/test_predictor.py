"""No model of an ensemble reaches another, nor one row the next."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rayfold.bundle.programs import load_onnx, load_torch, write_programs
from rayfold.ensemble import Input, Signature
from rayfold.ensemble.combination import WeightedMean
from rayfold.ensemble.predictor import EnsembleModule, predict_each, predict_rows
from rayfold.tasks import Regression

TEN = np.full((1, 1), 10, np.float32)


class Plain(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features - 1


class InPlace(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        features -= 1
        return features


class ByData(nn.Module):
    """Writes past PyTorch's count of changes."""

    def forward(self, features: Tensor) -> Tensor:
        features.data.sub_(1)
        return features * 1


class Counting(nn.Module):
    """Subtracts how often it was called."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        self.calls += 1
        return features - self.calls


class OneBuffer(nn.Module):
    """Returns the same tensor each time."""

    answer: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("answer", torch.zeros(1, 1))

    def forward(self, features: Tensor) -> Tensor:
        torch.sub(features, 1, out=self.answer)
        return self.answer


class Decaying(nn.Module):
    """Subtracts its weight, and halves it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        outputs = features - self.weight
        with torch.no_grad():
            self.weight.div_(2)
        return outputs.detach()


class Switching(nn.Module):
    """Changes what the process computes with."""

    def forward(self, features: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(True)
        torch.set_default_device("meta")
        return features - 1


class Drawing(nn.Module):
    """Subtracts about 1 and seeds PyTorch anew."""

    def forward(self, features: Tensor) -> Tensor:
        outputs = features - 1 + torch.rand(()) * 1e-3 + np.random.random() * 1e-3
        torch.manual_seed(0)
        np.random.seed(0)
        return outputs


MODELS = (Plain, InPlace, ByData, Counting, OneBuffer, Decaying, Switching, Drawing)


def ensemble_of(make: Callable[[], nn.Module], number: int) -> EnsembleModule:
    signature = Signature(
        task=Regression(),
        inputs=(Input(name="features", shape=(1,), dtype="float32"),),
        num_outputs=1,
        classes=None,
    )
    models = [[make().eval()] for _ in range(number)]
    weights = torch.full((number,), 1 / number, dtype=torch.float64)
    return EnsembleModule(models, WeightedMean(weights), signature)


@pytest.mark.parametrize("make", MODELS)
def test_any_number_of_equal_models_predicts_what_one_does(make: Callable[[], nn.Module]) -> None:
    for number in (1, 2, 5):
        module = ensemble_of(make, number)
        features = TEN.copy()
        for _ in range(3):
            predicted = predict_rows(module, (features,))
            assert predicted == pytest.approx(9, abs=3e-3)
            alone = predict_rows(ensemble_of(make, 1), (TEN,))
            assert predicted == pytest.approx(alone, rel=1e-12)
        each, _ = predict_each(module, (features,))
        assert np.ptp(each) == 0
        assert features.item() == 10
    assert torch.get_default_dtype() == torch.float32
    assert torch.empty(0).device.type == "cpu"


def test_a_model_that_draws_leaves_the_callers_generators_alone() -> None:
    module = ensemble_of(Drawing, 2)
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(()), np.random.random()
    torch.manual_seed(3)
    np.random.seed(3)
    predict_rows(module, (TEN,))
    assert (torch.rand(()), np.random.random()) == expected


def test_rows_in_a_second_batch_are_predicted_like_those_in_the_first() -> None:
    features = np.tile(TEN, (3000, 1))
    for make in (InPlace, ByData, Counting, Decaying):
        assert predict_rows(ensemble_of(make, 2), (features,)) == pytest.approx(9)


@pytest.mark.parametrize("make", [Plain, InPlace, Counting])
def test_programs_are_right_for_models_that_write_to_what_they_hold(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    module = ensemble_of(make, 3)
    names = ["one", "two", "three"]
    write_programs(module, module.signature, tmp_path, programs=("torch", "onnx"), members=names)
    for predict in (load_torch(tmp_path / "ensemble.pt2"), load_onnx(tmp_path / "ensemble.onnx")):
        for _ in range(2):
            assert predict((np.tile(TEN, (2, 1)),)).tolist() == [[9], [9]]

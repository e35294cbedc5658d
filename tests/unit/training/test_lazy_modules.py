from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rayfold.bundle.weights import check_declared
from rayfold.data import DataSet
from rayfold.ensemble.members import load_model
from rayfold.errors import BundleError, ModelError
from rayfold.jobs import FoldJob
from rayfold.library import model_source
from rayfold.training import FoldRun, StudySetup
from rayfold.training.lazy_modules import blank_rows, materialise
from rayfold.training.warm_start import model_shapes, output_tensors

MakeSetup = Callable[..., StudySetup]
MakeRun = Callable[..., FoldRun]


class Lazy(nn.Module):
    """4 inputs to 5 normalised hidden ones to the outputs."""

    def __init__(self, *, num_outputs: int, hidden: int = 5) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LazyLinear(hidden), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(num_outputs)
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)


def test_a_lazy_model_is_trained_paused_saved_and_loaded(
    data: DataSet, make_setup: MakeSetup, make_run: MakeRun
) -> None:
    setup = replace(make_setup(), model=model_source(Lazy))
    job = FoldJob(trial="0000", config={}, fold=0, until_epoch=4)
    run = make_run(job, setup)
    before = run._learner.model.state_dict()["layers.0.weight"].clone()
    run.advance(replace(job, until_epoch=2, save=True))
    assert not torch.equal(run._learner.model.state_dict()["layers.0.weight"], before)
    result = make_run(job, setup).advance(job)
    assert result is not None
    file = setup.folder / result.weights
    model = load_model(Lazy, {"num_outputs": 3}, file, input_shapes=[(4,)])
    assert type(model.layers[0]) is nn.Linear  # type: ignore[index]
    saved = load_file(setup.folder / str(result.predictions))
    features = torch.from_numpy(data.features[0][saved["rows"].numpy()])
    torch.testing.assert_close(model(features).softmax(1), saved["predictions"])


def test_shapes_are_known_before_anything_is_trained(data: DataSet) -> None:
    shapes = model_shapes(Lazy, {}, data)
    assert shapes["layers.0.weight"] == (5, 4)
    assert output_tensors(Lazy, {}, data) == {"layers.3.weight", "layers.3.bias"}


def test_a_bundle_that_declares_a_larger_lazy_model_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = Lazy(num_outputs=3)
    materialise(model, blank_rows([(4,)]))
    file = tmp_path / "weights.safetensors"
    save_file(dict(model.state_dict()), file)
    check_declared(Lazy, {"num_outputs": 3}, file, input_shapes=[(4,)])
    with pytest.raises(BundleError, match="build a model of"):
        check_declared(Lazy, {"num_outputs": 3, "hidden": 10**8}, file, input_shapes=[(4,)])


def test_an_ordinary_model_is_not_run_and_no_numbers_are_drawn() -> None:
    class Plain(nn.Linear):
        def forward(self, features: Tensor) -> Tensor:
            raise AssertionError

    torch.manual_seed(0)
    expected = torch.rand(())
    model = Plain(4, 2)
    torch.manual_seed(0)
    materialise(model, blank_rows([(4,)]))
    assert torch.rand(()) == expected


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda self, x: self.used(x), "Broken: 'spare.weight' is lazy, but forward does not use"),
        (lambda self, x: self.used(x[:, :, 9]), "has lazy modules, and its forward fails on the"),
    ],
)
def test_a_lazy_module_that_gets_no_shape_is_named(forward: Any, message: str) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.LazyLinear(2), nn.LazyLinear(2)

    Broken.forward = forward
    with pytest.raises(ModelError, match=message):
        materialise(Broken(), blank_rows([(4,)]))

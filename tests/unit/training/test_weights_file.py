"""Whatever PyTorch lets a model hold is saved and loaded, or refused in one line."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, weight_norm

from rayfold.ensemble.members import load_model
from rayfold.errors import ModelError
from rayfold.jobs import FoldJob
from rayfold.library import model_source
from rayfold.training import FoldRun, StudySetup
from rayfold.training.weights_file import check_trainable

MakeSetup = Callable[..., StudySetup]
MakeRun = Callable[..., FoldRun]


class Base(nn.Module):
    """A linear model of 4 features that holds something besides: ``add``."""

    layer: Any

    def __init__(self, *, num_outputs: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(4, num_outputs)
        self.add()

    def add(self) -> None:
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(features)


class Extra(Base):
    """Counts its calls in a dict and not in a tensor."""

    def add(self) -> None:
        self.seen: dict[str, Any] = {"calls": 0, "names": ["a"], "none": None}

    def forward(self, features: Tensor) -> Tensor:
        self.seen["calls"] += self.training
        return super().forward(features) + self.seen["calls"]

    def get_extra_state(self) -> Any:
        return self.seen

    def set_extra_state(self, state: Any) -> None:
        self.seen = dict(state)


class TensorExtra(Base):
    def add(self) -> None:
        self.calls = torch.zeros(())

    def get_extra_state(self) -> Tensor:
        return self.calls

    def set_extra_state(self, state: Tensor) -> None:
        self.calls = state


class Tied(Base):
    def add(self) -> None:
        self.other = nn.Linear(4, 3)
        self.other.weight = self.layer.weight


class WeightNorm(Base):
    def add(self) -> None:
        self.layer = parametrizations.weight_norm(self.layer)


class OldWeightNorm(Base):
    def add(self) -> None:
        self.layer = weight_norm(self.layer)


class Spectral(Base):
    def add(self) -> None:
        self.layer = parametrizations.spectral_norm(self.layer)


class Transposed(Base):
    def add(self) -> None:
        self.layer.weight = nn.Parameter(torch.rand(4, self.layer.out_features).T)


class Buffers(Base):
    def add(self) -> None:
        self.register_buffer("flag", torch.tensor(True))
        self.register_buffer("number", torch.tensor(7, dtype=torch.int64))
        self.register_buffer("empty", torch.zeros(0, 3))
        self.register_buffer("phase", torch.tensor([1 + 2j]))
        self.register_buffer("coarse", torch.ones(2, dtype=torch.bfloat16))
        self.register_buffer("none", None)
        self.register_buffer("own", torch.ones(2), persistent=False)


STORABLE = (
    Extra,
    TensorExtra,
    Tied,
    WeightNorm,
    OldWeightNorm,
    Spectral,
    Transposed,
    Buffers,
)


@pytest.mark.filterwarnings("ignore:.torch.nn.utils.weight_norm. is deprecated")
@pytest.mark.parametrize("model_class", STORABLE)
def test_it_is_trained_paused_saved_and_loaded(
    model_class: type[Base], make_setup: MakeSetup, make_run: MakeRun
) -> None:
    setup = replace(make_setup(checkpoint_seconds=0.0), model=model_source(model_class))
    job = FoldJob(trial="0000", config={}, fold=0, until_epoch=4)
    make_run(job, setup).advance(replace(job, until_epoch=2, save=True))
    run = make_run(job, setup)
    result = run.advance(job)
    assert result is not None
    model = load_model(
        model_class, {"num_outputs": 3}, setup.folder / result.weights, input_shapes=[(4,)]
    )
    trained, loaded = run._learner.model.state_dict(), model.state_dict()
    assert trained.keys() == loaded.keys()
    for name, value in trained.items():
        if isinstance(value, Tensor):
            assert torch.equal(value, loaded[name])
            assert value.dtype == loaded[name].dtype
        else:
            assert value == loaded[name]
    features = torch.rand(5, 4)
    run._learner.model.eval()
    torch.testing.assert_close(model(features), run._learner.model(features))


class Sparse(Base):
    def add(self) -> None:
        self.register_buffer("graph", torch.eye(3).to_sparse())


class Expanded(Base):
    def add(self) -> None:
        self.register_buffer("mask", torch.ones(1).expand(5))


class Wide(Base):
    def add(self) -> None:
        self.register_buffer("phase", torch.zeros(2, dtype=torch.complex128))


class OddExtra(Extra):
    def get_extra_state(self) -> Any:
        return {1: object()}


class Hidden(nn.Module):
    """Its layers are in a plain list."""

    def __init__(self, *, num_outputs: int) -> None:
        super().__init__()
        self.layers = [nn.Linear(4, num_outputs)]


class Frozen(Base):
    def add(self) -> None:
        self.requires_grad_(False)


@pytest.mark.parametrize(
    ("model_class", "message"),
    [
        (Sparse, r"Sparse: 'graph' cannot be saved: it is sparse; register its dense form"),
        (Expanded, r"Expanded: 'mask' cannot be saved: .* register a clone\(\) of it"),
        (Wide, r"Wide: 'phase' cannot be saved: no file holds its type torch.complex128"),
        (OddExtra, r"OddExtra: '_extra_state' cannot be saved: get_extra_state returns a dict"),
        (Hidden, r"Hidden has no parameter to train; .* nn.ModuleList \(a plain list hides them"),
        (Frozen, r"Frozen has no parameter to train"),
    ],
)
def test_what_cannot_be_trained_or_kept_is_refused_before_it_is_trained(
    model_class: type[nn.Module], message: str, make_setup: MakeSetup, make_run: MakeRun
) -> None:
    setup = replace(make_setup(), model=model_source(model_class))
    with pytest.raises(ModelError, match=message):
        make_run(FoldJob(trial="0000", config={}, fold=0, until_epoch=4), setup)


def test_tuples_of_extra_state_come_back_as_lists() -> None:
    class Tuple(Extra):
        def get_extra_state(self) -> Any:
            return {"shape": (2, 3)}

    check_trainable(Tuple())

"""Small ensembles of known predictions, and fixtures of them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rayfold.bundle import export_bundle
from rayfold.description import HoldoutSplit
from rayfold.ensemble import Ensemble, Input, Member, Origin, Signature
from rayfold.ensemble.combination import WeightedMean
from rayfold.ensemble.records import Contents
from rayfold.tasks import Classification, Regression


class Shift(nn.Module):
    """Adds the weight to the sum of a row's features: one output per class."""

    def __init__(self, *, input_shape: tuple[int, ...], num_outputs: int, scale: float = 1.0):
        super().__init__()
        assert isinstance(input_shape, tuple)
        self.shift = nn.Parameter(torch.rand(num_outputs))
        self.scale = scale

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.scale * features.flatten(1).sum(1, keepdim=True) + self.shift


def shifted(*shift: float, scale: float = 1.0) -> Shift:
    model = Shift(input_shape=(2,), num_outputs=len(shift), scale=scale)
    model.shift.data = torch.tensor(shift)
    return model.eval()


def make_member(trial: str, weight: float, *models: Shift) -> Member:
    return Member(
        study_id="a" * 32,
        trial=trial,
        weight=weight,
        score=0.5,
        out_of_fold_loss=0.25,
        config={"model.scale": models[0].scale, "batch_size": 32},
        model="net:Shift",
        arguments={
            "scale": models[0].scale,
            "input_shape": (2,),
            "num_outputs": len(models[0].shift),
        },
        models=models,
        run_id="b" * 32,
    )


def make_ensemble(signature: Signature, *members: Member) -> Ensemble:
    origin = Origin(
        studies={"a" * 32: "digits"},
        data_digest="d" * 64,
        fold_digest="f" * 64,
        labels="labels",
        test=HoldoutSplit(fraction=0.2),
        runs={"a" * 32: "c" * 32},
    )
    contents = Contents(
        signature=signature,
        origin=origin,
        members=members,
        combination=WeightedMean(torch.tensor([member.weight for member in members])),
        out_of_fold_loss=0.125,
        single_best_loss=0.25,
        nested_loss=0.15,
        reason="it was asked for.",
        nonconformity=np.full(
            (99, signature.num_outputs if signature.classes is None else 1), 0.5
        ),
    )
    return Ensemble(contents)


@pytest.fixture
def make() -> Callable[..., Ensemble]:
    return make_ensemble


@pytest.fixture
def shift_class() -> type[nn.Module]:
    return Shift


def make_regression() -> Ensemble:
    signature = Signature(
        task=Regression(),
        inputs=(Input(name="features", shape=(2,), dtype="float64"),),
        num_outputs=1,
        classes=None,
    )
    return make_ensemble(
        signature,
        make_member("0003", 0.75, shifted(1.0), shifted(3.0)),
        make_member("0001", 0.25, shifted(10.0, scale=2.0)),
    )


@pytest.fixture
def regression() -> Ensemble:
    """Three quarters of x + 1 and x + 3 averaged, and a quarter of 2 x + 10."""
    return make_regression()


@pytest.fixture
def classification() -> Ensemble:
    """Probabilities 0.75 and 0.25 of one member, 0.25 and 0.75 of another, weighted 3 to 1."""
    signature = Signature(
        task=Classification(),
        inputs=(Input(name="images", shape=(2,), dtype="uint8"),),
        num_outputs=2,
        classes=("cat", "dog"),
    )
    log3 = float(torch.log(torch.tensor(3.0)))
    return make_ensemble(
        signature,
        make_member("0000", 0.75, shifted(log3, 0.0)),
        make_member("0001", 0.25, shifted(0.0, log3)),
    )


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``regression`` as a bundle with both programs; made once, since it takes seconds."""
    folder = tmp_path_factory.mktemp("exported") / "digits-ensemble"
    return export_bundle(make_regression(), folder, licence="CC-BY-4.0")


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    """A copy of ``exported`` to break."""
    return Path(shutil.copytree(exported, tmp_path / "digits-ensemble"))

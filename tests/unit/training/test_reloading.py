"""A model must predict the same once its state dict is loaded into a new one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rayfold.errors import ModelError
from rayfold.jobs import FoldJob
from rayfold.library import model_source
from rayfold.training import FoldRun, StudySetup

MakeSetup = Callable[..., StudySetup]
MakeRun = Callable[..., FoldRun]

JOB = FoldJob(trial="0000", config={"batch_size": 16}, fold=0, until_epoch=1)


class Base(nn.Module):
    """A linear layer that may be given more."""

    def __init__(self, *, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(4, num_outputs)
        self.prepare()

    def prepare(self) -> None:
        pass

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(features)


class InList(Base):
    def prepare(self) -> None:
        self.hidden = [nn.Linear(4, 4)]

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(self.hidden[0](features))


class NotPersistent(Base):
    scale: Tensor

    def prepare(self) -> None:
        self.register_buffer("scale", torch.randn(4), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(features * self.scale)


class Counting(Base):
    def prepare(self) -> None:
        self.counter = 1

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            self.counter += 1
        return self.layer(features) * self.counter


class Averaging(Base):
    def prepare(self) -> None:
        self.average = torch.zeros(4)

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            self.average = 0.5 * self.average + 0.5 * features.detach().mean(0)
        return self.layer(features - self.average)


class Late(Base):
    def prepare(self) -> None:
        self.late: nn.Module | None = None

    def forward(self, features: Tensor) -> Tensor:
        self.late = self.late or nn.Linear(4, 4)
        return self.layer(self.late(features))


class Growing(Base):
    seen: Tensor

    def prepare(self) -> None:
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            self.seen = torch.cat([self.seen, features.detach().mean().view(1)])
        return self.layer(features) + self.seen.mean()


class OwnGenerator(Base):
    def prepare(self) -> None:
        self.generator = np.random.default_rng()

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(features) + float(self.generator.normal())


class Drawing(Base):
    def forward(self, features: Tensor) -> Tensor:
        return self.layer(features) + torch.randn(()) + float(np.random.normal())


class Caching(Base):
    """Keeps what follows from its arguments and its inputs."""

    def prepare(self) -> None:
        self.places = torch.arange(4.0)
        self.cache: dict[int, Tensor] = {}

    def forward(self, features: Tensor) -> Tensor:
        places = self.cache.setdefault(len(features), self.places / len(features))
        return self.layer(features + places)


@pytest.mark.parametrize(
    ("model", "cause"),
    [
        (InList, r"it is in hidden \(modules in a plain list: use nn.ModuleList\)"),
        (NotPersistent, r"it is in scale \(a buffer with persistent=False: leave that out\)"),
        (Counting, r"it is in counter \(a plain attribute: use register_buffer\)"),
        (Averaging, r"it is in average \(a plain attribute: use register_buffer\)"),
        (OwnGenerator, "it may be in an attribute, a global variable or a generator of its own"),
        (Late, r"does not fit the model that is built \(it has 'late.weight'"),
        (Growing, r"'seen' has shape \(4,\), expected \(1,\)\); make all"),
    ],
)
def test_state_that_no_file_holds_is_refused_by_name(
    make_setup: MakeSetup, make_run: MakeRun, model: type[Base], cause: str
) -> None:
    """Of 40 training rows three batches of 16, 16 and 8."""
    setup = replace(make_setup(epochs=1), model=model_source(model))
    run = make_run(JOB, setup)
    with pytest.raises(ModelError, match=f"{model.__name__}: .*{cause}"):
        run.advance(JOB)
    assert not (setup.folder / JOB.folder / "result.json").exists()


@pytest.mark.parametrize("model", [Base, Drawing, Caching])
def test_what_follows_from_arguments_and_seed_may_be_anywhere(
    make_setup: MakeSetup, make_run: MakeRun, model: Any
) -> None:
    setup = replace(make_setup(epochs=1), model=model_source(model))
    assert make_run(JOB, setup).advance(JOB) is not None

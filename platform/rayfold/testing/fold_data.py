"""A small data set and a model with everything that is easily got wrong, for the contracts."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rayfold.data import DataSet, Fold, FoldPlan
from rayfold.tasks import Classification
from rayfold.training import Settings, StudySetup
from rayfold.user_code import SourceCode

NUM_TRAINING, NUM_VALIDATION = 50, 25
EPOCHS = 3


class Normalised(nn.Module):
    """A linear model with dropout of normalised features, whose statistics are buffers."""

    def __init__(self, *, input_shape: tuple[int, ...], num_outputs: int) -> None:
        super().__init__()
        size = math.prod(input_shape)
        self.layers = nn.Sequential(
            nn.Flatten(), nn.BatchNorm1d(size), nn.Dropout(), nn.Linear(size, num_outputs)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return logits."""
        outputs: Tensor = self.layers(features)
        return outputs


def make_data() -> DataSet:
    """Return 75 noisy images of 4 x 4 in 3 classes."""
    labels = np.arange(NUM_TRAINING + NUM_VALIDATION) % 3
    noise = np.random.default_rng(0).normal(size=(len(labels), 4, 4))
    return DataSet(
        features=((noise + labels[:, None, None] / 2).astype(np.float32),),
        feature_names=("features",),
        labels=labels,
        row_groups=None,
        task=Classification(),
        classes=(0, 1, 2),
        digest="d" * 64,
        development_rows=np.arange(len(labels)),
        test_rows=np.arange(0),
    )


def make_setup(model: SourceCode, folder: Path, **changes: Any) -> StudySetup:
    """Return a setup with one fold: the first 50 rows train, the others validate.

    Args:
        model: Code of the model.
        folder: Where the fold leaves its files.
        changes: Other fields of the setup or its settings.
    """
    rows = np.arange(NUM_TRAINING + NUM_VALIDATION)
    fold = Fold(0, rows[:NUM_TRAINING], rows[NUM_TRAINING:])
    settings = {name: changes.pop(name) for name in ("random_seed", "metric") if name in changes}
    return StudySetup(
        model=model,
        settings=Settings(epochs=EPOCHS, **settings),
        plan=FoldPlan((fold,), digest="f" * 64),
        folder=folder,
        **changes,
    )


def same_state(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Tell whether two state dicts are equal to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)

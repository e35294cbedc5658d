"""A learner with two networks and two optimisers, which predicts nothing: a small GAN."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from rayfold.training import Batch, Learner

NOISE = 4


class GAN(nn.Module):
    """A generator of rows and a discriminator that tells them from real ones."""

    def __init__(self, *, input_shape: tuple[int, ...], hidden: int = 16) -> None:
        super().__init__()
        size = math.prod(input_shape)
        self.generator = nn.Sequential(
            nn.Linear(NOISE, hidden), nn.ReLU(), nn.Linear(hidden, size)
        )
        self.discriminator = nn.Sequential(
            nn.Linear(size, hidden), nn.LeakyReLU(0.2), nn.Dropout(0.1), nn.Linear(hidden, 1)
        )


class GANLearner(Learner):
    """Searches for ``val_loss``, the discriminator's, or ``val_realism``.

    A row's realism is how real a generated row looks to the discriminator, from 0 to 1.
    """

    predicts = False
    reports = {"loss": "min", "realism": "max"}

    def build(self) -> None:
        """Give each network an optimiser of its own."""
        generator = self.model.get_submodule("generator")
        discriminator = self.model.get_submodule("discriminator")
        self.generate = self.strategy.wrap(generator)
        self.judge = self.strategy.wrap(discriminator)
        self.generator = self.add_optimizer("generator", generator)
        self.discriminator = self.add_optimizer("discriminator", discriminator)

    def train_batch(self, batch: Batch) -> Tensor:
        """Train the discriminator on real and generated rows, then the generator against it."""
        real = batch.features[0].flatten(1)
        self.discriminator.zero_grad()
        fake = self.call(self.generate, self._noise(real))
        total = self.backward(self._losses(real, fake.detach()), batch)
        self.step(self.discriminator)

        self.generator.zero_grad()
        looks = self.call(self.judge, fake)
        fooled = cross_entropy(looks, torch.ones_like(looks), reduction="none")
        self.backward(fooled.flatten(), batch)
        self.step(self.generator)
        return total

    def validate_batch(self, batch: Batch) -> tuple[None, Mapping[str, Tensor]]:
        """Measure the discriminator on real and on generated rows."""
        real = batch.features[0].flatten(1)
        fake = self.call(self.generate, self._noise(real))
        realism = self.call(self.judge, fake).sigmoid().flatten()
        return None, {"loss": self._losses(real, fake), "realism": realism}

    def _losses(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss for each pair of rows."""
        looks = self.call(self.judge, torch.cat([real, fake]))
        truth = torch.cat([torch.ones(len(real), 1), torch.zeros(len(fake), 1)])
        losses = cross_entropy(looks, truth.to(looks), reduction="none").view(2, -1)
        return losses.mean(0)

    def _noise(self, rows: Tensor) -> Tensor:
        return torch.randn(len(rows), NOISE, device=rows.device)

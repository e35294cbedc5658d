"""The learner of Rayfold, and that of the examples, keep the contract."""

from pathlib import Path

from rayfold.testing import LearnerContract

GAN = Path(__file__).parents[1] / "examples" / "gan.py"


class TestSupervised(LearnerContract):
    config = {"model.hidden": 8, "model.dropout": 0.5, "optimizer.learning_rate": 0.01}
    learner = "supervised"
    model = "mlp"


class TestGAN(LearnerContract):
    config = {"model.hidden": 8, "optimizer.name": "adam", "batch_size": 16}
    learner = f"{GAN}:GANLearner"
    model = f"{GAN}:GAN"

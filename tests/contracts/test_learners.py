"""The learner of Rayfold, and that of the examples, keep the contract."""

from pathlib import Path

from rayfold.testing import LearnerContract

EXAMPLES = Path(__file__).parents[1] / "examples"
GAN = EXAMPLES / "gan.py"


class TestSupervised(LearnerContract):
    config = {"model.hidden": 8, "model.dropout": 0.5, "optimizer.learning_rate": 0.01}
    learner = "supervised"
    model = "mlp"


class TestGAN(LearnerContract):
    config = {"model.hidden": 8, "optimizer.name": "adam", "batch_size": 16}
    learner = f"{GAN}:GANLearner"
    model = f"{GAN}:GAN"


class TestOwnOptimizerAndSchedule(LearnerContract):
    """The rate changes in every step, so a trial that copies another one has no constant rate."""

    config = {
        "model.hidden": 8,
        "optimizer.name": f"{EXAMPLES}/sign_descent.py:SignDescent",
        "schedule.name": f"{EXAMPLES}/inverse_root.py:InverseRoot",
    }
    learner = "supervised"
    model = "mlp"

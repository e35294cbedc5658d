"""What a fold learns and how one batch teaches it; one learner a file."""

from rayfold.training.learners.base import Batch, Learner
from rayfold.training.learners.supervised import Supervised

__all__ = ["Batch", "Learner", "Supervised"]

"""What a fold learns and how one batch teaches it; one learner a file."""

from rayfold.training.learners.base import Batch, Learner
from rayfold.training.learners.supervised import Supervised
from rayfold.user_code import Source, load_class

__all__ = ["Batch", "Learner", "Supervised", "load_learner"]


def load_learner(source: Source) -> type[Learner]:
    """Import the learner that a source names.

    Raises:
        ModelError: If it cannot be imported, or is no learner.
    """
    found: type[Learner] = load_class(source, Learner)
    return found

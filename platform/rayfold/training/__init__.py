"""Training one fold: learner, loop, optimisers, schedules, losses, metrics, checkpoints.

Nothing here knows of Ray: a fold trains in one plain process, or in several that PyTorch's
``torch.distributed`` already connects.
"""

from rayfold.training.collective import Collective, Distributed, SingleProcess
from rayfold.training.learners import Batch, Learner
from rayfold.training.loop import FoldRun
from rayfold.training.schedules import Schedule, Span
from rayfold.training.settings import Settings, StudySetup
from rayfold.training.strategies import Share, Strategy

__all__ = [
    "Batch",
    "Collective",
    "Distributed",
    "FoldRun",
    "Learner",
    "Schedule",
    "Settings",
    "Share",
    "SingleProcess",
    "Span",
    "Strategy",
    "StudySetup",
]

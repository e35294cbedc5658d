"""What all folds of a study share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from torch import nn

from rayfold.data import FoldPlan
from rayfold.library import resolve_model
from rayfold.results import Config, Mode
from rayfold.training.references import LEARNERS, STRATEGIES
from rayfold.training.warm_start import WarmStart
from rayfold.user_code import SourceCode


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How every fold of a study is trained.

    Attributes:
        epochs: Epochs of a complete training, at least 1.
        loss: Name or reference of the loss (see ``training.losses``); None takes the task's
            default.
        metrics: Names and references of the metrics computed on the validation rows (see
            ``training.metrics``).
        metric: What the study searches for: ``"val_loss"`` or ``"val_"`` + the name of one of
            ``metrics``.
        mode: Whether a small or a large ``metric`` is good.
        random_seed: Seed of the study; each fold's seed follows from it, the trial and the fold.
        checkpoint_seconds: Seconds between two checkpoints of a fold in training; 0 writes one
            after every epoch.
    """

    epochs: int
    loss: str | None = None
    metrics: tuple[str, ...] = ()
    metric: str = "val_loss"
    mode: Mode = "min"
    random_seed: int = 0
    checkpoint_seconds: float = 30.0


@dataclass(frozen=True, kw_only=True)
class StudySetup:
    """What all folds of a study share, data apart.

    Attributes:
        model: Code of the model that is built anew for each fold.
        settings: How it is trained.
        plan: The folds, as rows of the data set.
        parameters: Hyperparameters that are not searched, dotted name to value.
        folder: The study's folder; every worker of every node can write there.
        warm_start: What warm trials begin with; None: all begin cold.
        learner: Code of what a fold learns and how.
        strategy: Code of how the workers of a group train together.
        references: Code of losses, metrics, optimisers and schedules that are named by reference.
    """

    model: SourceCode
    settings: Settings
    plan: FoldPlan
    folder: Path
    parameters: Config = field(default_factory=dict)
    warm_start: WarmStart | None = None
    learner: SourceCode = field(default_factory=partial(LEARNERS.source, "supervised"))
    strategy: SourceCode = field(default_factory=partial(STRATEGIES.source, "all_reduce"))
    references: Mapping[str, SourceCode] = field(default_factory=dict)

    @property
    def code(self) -> tuple[SourceCode, ...]:
        """All code that may be the user's."""
        return self.model, self.learner, self.strategy, *self.references.values()

    def told(self, text: str) -> str:
        """Return a traceback or message with the user's own files and modules in it."""
        for source in self.code:
            text = source.told(text)
        return text

    @property
    def model_class(self) -> type[nn.Module]:
        """The model's class, imported in this process on first use.

        Raises:
            ModelError: If the code cannot be imported here.
        """
        return resolve_model(self.model)

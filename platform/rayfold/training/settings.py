"""What a fold needs to know: the study-wide part, and the part that differs from fold to fold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from rayfold.data import FoldPlan
from rayfold.results import Config, Mode


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How every fold of a study is trained.

    Attributes:
        epochs: Epochs of a complete training, at least 1.
        loss: Name of the loss (see ``training.losses``); None takes the task's default.
        metrics: Names of the metrics computed on the validation rows (see ``training.metrics``).
        metric: What the study searches for: ``"val_loss"`` or ``"val_"`` + one of ``metrics``.
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
        model_class: The model that is built anew for each fold.
        settings: How it is trained.
        plan: The folds, as rows of the data set.
        parameters: Hyperparameters that are not searched, dotted name to value.
        folder: The study's folder; every worker of every node can write there.
    """

    model_class: type[nn.Module]
    settings: Settings
    plan: FoldPlan
    folder: Path
    parameters: Config = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FoldTask:
    """One order to a group: bring one fold of one trial to an epoch.

    Orders are idempotent: a fold already there answers at once, and one that was lost with its
    worker goes on from its last checkpoint.

    Attributes:
        trial: Id of the trial.
        config: The trial's configuration.
        fold: Index of the fold.
        until_epoch: Epochs that the fold has trained when the order is done.
        save: Whether to write a checkpoint of that epoch, too.
        start_from: A checkpoint that replaces the fold's present state first (population-based
            training), relative to the study's folder.
    """

    trial: str
    config: Mapping[str, bool | int | float | str]
    fold: int
    until_epoch: int
    save: bool = False
    start_from: str | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Trial and fold: what the order is about."""
        return self.trial, self.fold

    @property
    def folder(self) -> Path:
        """Where the fold keeps its files, relative to the study's folder."""
        return Path("trials") / self.trial / f"fold_{self.fold}"

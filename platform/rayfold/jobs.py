"""What trials, the dispatcher and groups send each other: jobs, and what became of them.

Kept apart from the training itself, so that processes that only pass jobs on never import
PyTorch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from rayfold.results import Config, FoldResult
from rayfold.study_folder import TRIALS

FoldOrder: TypeAlias = Literal["in_turn", "together"]
"""One fold of a trial after another, or all folds of it epoch by epoch."""


@dataclass(frozen=True, kw_only=True)
class FoldJob:
    """What a group is asked to do: bring one fold of one trial to an epoch.

    Jobs are idempotent: a fold already there answers at once, and one that was lost with its
    worker goes on from its last checkpoint.

    Attributes:
        trial: Id of the trial.
        config: The trial's configuration.
        fold: Index of the fold.
        until_epoch: Epochs that the fold has trained when the job is done.
        save: Whether to write a checkpoint of that epoch, too, which is kept for longer.
        lineage: How often the trial has taken over a state (population-based training). What a
            group or a file holds of an earlier lineage counts no more.
        warm: Whether the fold begins with weights of earlier studies.
        study: Name of the trial's study, by which a group knows the setup.
    """

    trial: str
    config: Config
    fold: int
    until_epoch: int
    save: bool = False
    lineage: int = 0
    warm: bool = False
    study: str = ""

    @property
    def key(self) -> tuple[str, str, int]:
        """Study, trial and fold: what the job is about."""
        return self.study, self.trial, self.fold

    @property
    def folder(self) -> Path:
        """Where the fold keeps its files, relative to the study's folder."""
        return fold_folder(self.trial, self.fold)

    @property
    def checkpoints(self) -> Path:
        """Where the fold keeps its checkpoints, relative to the study's folder."""
        return lineage_folder(self.folder, self.lineage)


@dataclass(frozen=True, kw_only=True)
class FoldOutcome:
    """What became of a job.

    Attributes:
        job: The job.
        epoch: Epochs that the fold has trained.
        metrics: Metrics of the job's epoch, or of the last one before it; empty if there is none.
        result: The fold's result, once it is complete.
        error: What went wrong, with the traceback, or None.
        fault: Which fault of the machine ended the job, or None. The job is to be given out
            again when it is over; it says nothing about the configuration.
        diverged: Whether that is a loss, or the study's metric, which is no longer finite.
    """

    job: FoldJob
    epoch: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    result: FoldResult | None = None
    error: str | None = None
    fault: str | None = None
    diverged: bool = False


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer to a group that asks what to do: a job, to stop, or (neither) to ask again."""

    job: FoldJob | None = None
    stop: bool = False


def lease_name(study: str, trial: str) -> str:
    """Return what the dispatcher calls a trial: several studies may share a pool."""
    return f"{study}/{trial}"


def fold_folder(trial: str, fold: int) -> Path:
    """Return where a fold keeps its files, relative to the study's folder."""
    return Path(TRIALS) / trial / f"fold_{fold}"


def lineage_folder(folder: Path, lineage: int) -> Path:
    """Return where a fold with this folder keeps the checkpoints of a lineage.

    Each lineage has a folder of its own, so that a state taken over appears whole, and nothing
    that is late, a slow worker's checkpoint say, can mix with it.
    """
    return folder / f"lineage_{lineage}" if lineage else folder

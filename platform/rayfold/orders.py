"""What trials, the dispatcher and groups send each other: orders, and what became of them.

Kept apart from the training itself, so that processes that only pass orders on never import
PyTorch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from rayfold.results import Config, FoldResult

FoldOrder: TypeAlias = Literal["in_turn", "together"]
"""One fold of a trial after another, or all folds of it epoch by epoch."""


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
    config: Config
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


@dataclass(frozen=True, kw_only=True)
class FoldOutcome:
    """What became of an order.

    Attributes:
        task: The order.
        epoch: Epochs that the fold has trained.
        metrics: Metrics of the epoch that was ordered, or of its last one before that; empty when
            it has none.
        result: The fold's result, once it is complete.
        error: What went wrong, with the traceback, or None.
    """

    task: FoldTask
    epoch: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    result: FoldResult | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Order:
    """An answer to a group that asks what to do: a task, to stop, or (neither) to ask again."""

    task: FoldTask | None = None
    stop: bool = False

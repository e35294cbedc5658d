"""The worker groups of a study, and the plan of what it will run."""

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from rayfold.options import options
from rayfold.options.fields import Count, plain
from rayfold.results import MAX_COUNT

WORKER_MEMORY = 0.45e9
"""Bytes of a worker, mostly PyTorch (measured)."""

TRIAL_MEMORY = 0.15e9
"""Bytes of a trial's actor, with its share of the actors that wait for a group (measured)."""

DRIVER_MEMORY = 1.5e9
"""Bytes of the driver, Ray's own processes and the dispatcher (measured)."""


@options("groups")
class Groups:
    """The worker groups of a study."""

    minimum: Count = 1
    """Groups requested at the start, even if the cluster must grow for them."""
    maximum: Count = 1
    """Largest number of groups; those beyond minimum start when the cluster has room."""
    workers: Count = 1
    """Data-parallel workers of each group (N_W)."""
    per_trial: Count = 1
    """Groups that train folds of one trial at the same time (N_F)."""
    cpus_per_worker: Annotated[float, Field(strict=True, gt=0, le=MAX_COUNT), plain] = 1.0
    """CPU cores reserved for each worker."""
    gpus_per_worker: Annotated[float, Field(strict=True, ge=0, le=MAX_COUNT), plain] = 0.0
    """GPUs of each worker (N_GPU), or a share of one; 0 computes on the CPU."""

    def __post_init__(self) -> None:
        for name in ("minimum", "per_trial"):
            if getattr(self, name) > self.maximum:
                raise ValueError(
                    f"must not have a {name} above its maximum, got {name} "
                    f"{getattr(self, name)} and maximum {self.maximum}; raise the maximum"
                )
        if self.maximum % self.per_trial:
            raise ValueError(
                f"must have a maximum that is a multiple of per_trial, or some would stay idle, "
                f"got maximum {self.maximum} and per_trial {self.per_trial}"
            )

    @property
    def worker_resources(self) -> dict[str, float]:
        """The resources that Ray reserves for each worker."""
        resources = {"CPU": float(self.cpus_per_worker)}
        if self.gpus_per_worker:
            resources["GPU"] = float(self.gpus_per_worker)
        return resources

    @property
    def trials_at_once(self) -> int:
        """Number of trials that the full pool serves at the same time (N_G)."""
        return self.maximum // self.per_trial


@dataclass(frozen=True)
class PartPlan:
    """The study of a part of the data, which runs before the main study.

    Attributes:
        study: Name of the part's study.
        num_rows: Development rows of the part.
        num_trials: Largest number of trials.
    """

    study: str
    num_rows: int
    num_trials: int


@dataclass(frozen=True)
class Plan:
    """The plan of a study.

    Attributes:
        groups: The worker groups.
        num_trials: Largest number of trials.
        num_folds: Folds of each trial.
        epochs: Epochs of each fold.
        data_bytes: Bytes of the data set, held once on each node.
        inputs: How the rows of each feature array are understood, one line each.
        model: Results of trying the model at the ends of the space, one line each.
        warnings: Likely mistakes, one line each.
        hints: Possible improvements, one line each.
        past: Earlier studies that the search starts from, and why, one line each.
        parts: The studies of the parts, which run first in one pool.
        done: Results of earlier runs of the study; empty for a new one.
    """

    groups: Groups
    num_trials: int
    num_folds: int
    epochs: int
    data_bytes: int
    inputs: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    parts: tuple[PartPlan, ...] = ()
    done: str = ""

    @property
    def num_nodes(self) -> int:
        """``1 + N_G x N_F x (N_W x N_GPU)``; a worker without a GPU counts as one node."""
        groups = self.groups
        devices = groups.workers * max(1, math.ceil(groups.gpus_per_worker))
        return 1 + groups.trials_at_once * groups.per_trial * devices

    @property
    def num_fold_trainings(self) -> int:
        """Folds to train if no trial ends early, including those of the parts."""
        return (self._num_trials_of_parts + self.num_trials) * self.num_folds

    @property
    def _num_trials_of_parts(self) -> int:
        return sum(part.num_trials for part in self.parts)

    @property
    def memory_bytes(self) -> float:
        """Estimated bytes of all processes and one copy of the data, without models."""
        groups = self.groups
        workers = groups.maximum * groups.workers * WORKER_MEMORY
        return DRIVER_MEMORY + workers + groups.trials_at_once * TRIAL_MEMORY + self.data_bytes

    def lines(self) -> list[str]:
        """Return the plan as lines of text."""
        groups = self.groups
        trials = f"{self.num_trials}"
        if self.parts:
            trials = f"({self._num_trials_of_parts} of parts + {trials})"
        trainings = f"{trials} trials x {self.num_folds} folds"
        gigabytes = self.memory_bytes / 1e9
        formula = (
            f"1 + N_G {groups.trials_at_once} x N_F {groups.per_trial} x "
            f"(N_W {groups.workers} x N_GPU {math.ceil(groups.gpus_per_worker) or '1 (a CPU)'})"
        )
        return [
            *([f"done       {self.done}"] if self.done else []),
            *(f"input      {line}" for line in self.inputs),
            *(f"model      {line}" for line in self.model),
            f"trainings  {trainings} = {self.num_fold_trainings} of {self.epochs} epochs each",
            f"N_nodes    {formula} = {self.num_nodes}",
            f"groups     {groups.minimum} to {groups.maximum}, each {groups.workers} worker(s) of "
            f"{groups.cpus_per_worker:g} CPU and {groups.gpus_per_worker:g} GPU",
            f"memory     about {gigabytes:.1f} GB, {self.data_bytes / 1e6:.1f} MB of it data",
            *(
                f"part       {part.study}: {part.num_rows} rows, {part.num_trials} trials"
                for part in self.parts
            ),
            *(f"past       {line}" for line in self.past),
            *(f"warning    {line}" for line in self.warnings),
            *(f"hint       {hint}" for hint in self.hints),
        ]

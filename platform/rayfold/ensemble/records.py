"""What an ensemble consists of: its signature, its members and where they come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rayfold.data.inputs import Input
from rayfold.description import HoldoutSplit
from rayfold.ensemble.combination import Combination
from rayfold.results import Config
from rayfold.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What goes in and what comes out.

    Attributes:
        task: What is predicted.
        inputs: The feature arrays, in order.
        num_outputs: Number of classes, or of values per row.
        classes: What each class index stands for; None where there are no classes.
    """

    task: Task
    inputs: tuple[Input, ...]
    num_outputs: int
    classes: tuple[str | int | float | bool, ...] | None

    @property
    def model_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of one row of each input, as the models get it."""
        return tuple(entry.model_shape for entry in self.inputs)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where an ensemble comes from, and which rows its members never saw.

    Attributes:
        studies: Identity to name of the studies that its members come from; their data and folds
            are the same.
        data_digest: Digest of the data set.
        fold_digest: Digest of the folds.
        labels: Name of the column of the labels; None if unknown.
        test: How the test rows were chosen.
        runs: MLflow's run of each study, by the study's identity.
        scored: What the study measured on validation rows, what it searched for first:
            ``("val_auroc", "val_loss")``.
    """

    studies: Mapping[str, str]
    data_digest: str
    fold_digest: str
    labels: str | None
    test: HoldoutSplit
    runs: Mapping[str, str] = field(default_factory=dict)
    scored: tuple[str, ...] = ()

    def trial_name(self, member: "Member") -> str:
        """Return a member's trial, with the name of its study where there are several."""
        return (
            member.trial
            if len(self.studies) == 1
            else f"{self.studies[member.study_id]}/{member.trial}"
        )

    @property
    def study(self) -> str:
        """The studies' names, as a text."""
        return ", ".join(dict.fromkeys(self.studies.values()))


@dataclass(frozen=True, kw_only=True)
class Member:
    """A trial in an ensemble: a bag of one model per fold, which count alike.

    Attributes:
        study_id: Identity of the study that it comes from.
        trial: Name of the trial in its study.
        weight: Its share of the ensemble, in [0, 1]; all members' weights sum to 1.
        score: The trial's mean score over the folds, by the study's metric.
        out_of_fold_loss: Its own loss over all out-of-fold rows.
        config: The trial's configuration.
        model: Reference of the model's class.
        arguments: What the class is built with.
        models: The trained models, one per fold; none where a bundle's program predicts.
        run_id: MLflow's run of the trial.
    """

    study_id: str
    trial: str
    weight: float
    score: float | None
    out_of_fold_loss: float
    config: Config
    model: str
    arguments: Mapping[str, Any] = field(repr=False)
    models: tuple[nn.Module, ...] = field(repr=False, compare=False)
    run_id: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Supplement:
    """What a bundle's card shows besides what the bundle itself tells.

    Attributes:
        sections: Markdown by title, in order.
        plots: PNG files by name.
    """

    sections: Mapping[str, str]
    plots: Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All that an ensemble, or a bundle, holds.

    Attributes:
        signature: What goes in and what comes out.
        origin: Where it comes from.
        members: The members, the one with the largest weight first.
        combination: What their predictions are combined by, in the order of ``members``.
        out_of_fold_loss: The task's mean loss of the ensemble over all out-of-fold rows.
        single_best_loss: The same of the best trial alone.
        nested_loss: The same of the ensemble by nested cross-validation: each row predicted by an
            ensemble that was chosen on the rows of other folds.
        reason: Why its builder was chosen, in a line.
        nonconformity: How far off the nested predictions were, shape ``(rows, m)``; see
            ``rayfold.ensemble.evaluation.conformal``.
        licence: What it may be used for, if that was said.
        spread: Standard deviation of each output over the development rows; None if unknown, and
            where outputs are no quantities.
        supplement: The report that it was exported with, of an ensemble that was loaded.
    """

    signature: Signature
    origin: Origin
    members: tuple[Member, ...]
    combination: Combination
    out_of_fold_loss: float
    single_best_loss: float
    nested_loss: float
    reason: str
    nonconformity: NDArray[np.float64] = field(repr=False)
    licence: str | None = None
    spread: tuple[float, ...] | None = None
    supplement: Supplement | None = None

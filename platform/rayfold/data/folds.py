"""Cross-validation: which rows train and which validate in each fold."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rayfold.data.dataset import DataSet
from rayfold.errors import DataError
from rayfold.jobs import FoldOrder
from rayfold.options import options
from rayfold.options.fields import Count, Seed, plain
from rayfold.tasks import Classes, Strata

Kind: TypeAlias = Literal["auto", "stratified", "plain", "grouped"]

MAX_FOLDS = 1000
"""Folds of a trial, over all repeats."""


@dataclass(frozen=True, eq=False)
class Fold:
    """One split of the development rows.

    Attributes:
        index: Counted from 0.
        training_rows: Row numbers of the data set, int64, sorted.
        validation_rows: Row numbers of the data set, int64, sorted.
        scored: Which of the validation rows count for metrics and score, shape
            ``(validation rows,)``; None: all. The others are predicted as well.
    """

    index: int
    training_rows: NDArray[np.int64]
    validation_rows: NDArray[np.int64]
    scored: NDArray[np.bool_] | None = None

    def within(self, part: NDArray[np.bool_]) -> "Fold":
        """Return the fold that trains on a part of the rows, and is scored by that part.

        Args:
            part: Which rows of the data set belong to it, shape ``(rows,)``.
        """
        return Fold(
            self.index,
            self.training_rows[part[self.training_rows]],
            self.validation_rows,
            part[self.validation_rows],
        )


@dataclass(frozen=True, eq=False)
class FoldPlan:
    """All folds; each development row validates in exactly one of them for each repeat.

    Attributes:
        folds: In order of their index.
        digest: SHA-256 of the data's digest and of the rows of each fold, in hexadecimal. Two
            trials can be combined in an ensemble when theirs are equal.
    """

    folds: tuple[Fold, ...]
    digest: str

    def within(self, part: NDArray[np.bool_]) -> "FoldPlan":
        """Return folds that train on a part of the rows, and are scored by that part.

        They predict the same rows as these, by models that have seen none of the rows that these
        have not: the digest stays, and models of both can be combined.

        Args:
            part: Which rows of the data set belong to it, shape ``(rows,)``.
        """
        return FoldPlan(tuple(fold.within(part) for fold in self.folds), self.digest)


@options("folds")
class Folds:
    """How the development rows are cut into folds, always shuffled by the seed."""

    count: Annotated[int, Field(strict=True, ge=2, le=MAX_FOLDS), plain] = 5
    """Number of folds."""
    random_seed: Seed = 0
    """Same seed and data, same folds."""
    kind: Kind = "auto"
    """How rows are dealt out. stratified: each class is spread evenly over the folds. plain: rows
    at random. grouped: rows of one row group stay together; for classification the classes are
    spread as evenly as whole groups allow (scikit-learn's StratifiedGroupKFold), for regression
    each fold gets as many groups (GroupKFold). auto: grouped for data with row groups, stratified
    for other classification, plain for other regression. Kinds other than grouped ignore row
    groups."""
    repeats: Count = 1
    """How often the rows are cut anew; count times as many folds are trained for each trial. With
    few rows (below 1,000, say) one cut decides too much by chance. The predictions of a row by
    the models of several cuts are averaged."""
    order: FoldOrder | None = None
    """One fold after another, or all folds together, epoch by epoch; null takes what the scheduler
    needs, else in_turn."""

    def __post_init__(self) -> None:
        if self.total > MAX_FOLDS:
            raise ValueError(
                f"must be at most {MAX_FOLDS:,} for each trial, got count {self.count} times "
                f"repeats {self.repeats}; take fewer repeats"
            )

    @property
    def total(self) -> int:
        """Folds of each trial, over all repeats."""
        return self.count * self.repeats

    def split(self, dataset: DataSet) -> FoldPlan:
        """Cut the development rows of a data set into folds.

        Raises:
            DataError: If there are fewer rows, rows of a class or row groups than folds, if a
                class is missing from the training rows of a fold, or the kind does not suit.
        """
        kind = self._resolved_kind(dataset)
        rows = dataset.development_rows
        labels = dataset.labels[rows]
        groups = None
        if kind == "grouped" and dataset.row_groups is not None:
            groups = dataset.row_groups[rows]
        strata = dataset.strata
        if strata is not None:
            labels = strata.codes[rows]
        self._check_counts(dataset, labels, groups)
        cuts = [
            cut
            for repeat in range(self.repeats)
            for cut in self._splitter(kind, repeat, strata).split(rows, labels, groups)
        ]
        folds = tuple(
            Fold(index, np.sort(rows[training]), np.sort(rows[validation]))
            for index, (training, validation) in enumerate(cuts)
        )
        if strata is not None:
            _check_training_classes(dataset, strata, folds)
        return FoldPlan(folds, _digest(dataset.digest, folds))

    def _resolved_kind(self, dataset: DataSet) -> Kind:
        if self.kind == "grouped" and dataset.row_groups is None:
            raise DataError(
                f"{dataset.labels_place}: folds of kind 'grouped' need row groups; "
                "name their data set in row_groups."
            )
        if self.kind == "stratified" and dataset.strata is None:
            raise DataError(
                f"{dataset.labels_place}: folds of kind 'stratified' need classes, and this is "
                f"{dataset.task}; use kind 'plain' or 'auto'."
            )
        if self.kind != "auto":
            return self.kind
        if dataset.row_groups is not None:
            return "grouped"
        return "plain" if dataset.strata is None else "stratified"

    def _check_counts(
        self, dataset: DataSet, labels: NDArray[Any], groups: NDArray[np.int64] | None
    ) -> None:
        counted = [("development rows", len(labels), "rows")]
        if groups is not None:
            num_groups = len(np.unique(groups))
            counted.append(("row groups among the development rows", num_groups, "groups"))
        for what, number, remedy in counted:
            if number < self.count:
                raise DataError(
                    f"{dataset.labels_place}: {number} {what} are too few for {self.count} folds; "
                    f"use fewer folds or add {remedy}."
                )
        if (strata := dataset.strata) is not None:
            counts = np.bincount(labels, minlength=len(strata.names))
            self._check_classes(dataset, strata.names, counts)

    def _check_classes(self, dataset: DataSet, classes: Classes, counts: NDArray[np.intp]) -> None:
        small = np.flatnonzero(counts < self.count)
        if not len(small):
            return
        worst = int(counts.argmin())
        others = f" ({len(small)} classes are too small)" if len(small) > 1 else ""
        smallest = int(counts[worst])
        fewer = f"use at most {smallest} folds, " if smallest >= 2 else ""
        remedy = f"{fewer}add rows of this class or leave it out"
        if 2 * len(small) > len(counts) and not isinstance(classes[0], str):
            remedy = "if the labels are quantities and no classes, set task='regression'"
        raise DataError(
            f"{dataset.labels_place}: class {classes[worst]!r} has {smallest} development "
            f"{'row' if smallest == 1 else 'rows'}, fewer than the {self.count} folds{others}; "
            f"{remedy}."
        )

    def _splitter(self, kind: Kind, repeat: int, strata: Strata | None) -> Any:
        # Imported here, for workers unpickle folds and never split: it takes them two seconds.
        from sklearn.model_selection import (
            GroupKFold,
            KFold,
            StratifiedGroupKFold,
            StratifiedKFold,
        )

        splitters = {
            "stratified": StratifiedKFold,
            "plain": KFold,
            "grouped": GroupKFold if strata is None else StratifiedGroupKFold,
        }
        seed = (self.random_seed + repeat) % 2**32
        return splitters[kind](self.count, shuffle=True, random_state=seed)


def _check_training_classes(dataset: DataSet, strata: Strata, folds: Sequence[Fold]) -> None:
    """Refuse a fold that validates a class which it never trains; whole groups can cause that."""
    for fold in folds:
        counts = np.bincount(strata.codes[fold.training_rows], minlength=len(strata.names))
        if not counts.all():
            missing = strata.names[int(counts.argmin())]
            raise DataError(
                f"{dataset.labels_place}: all rows of class {missing!r} validate in fold "
                f"{fold.index}, so that it would train without the class; "
                "spread the class over more row groups, leave it out or change random_seed."
            )


def _digest(data_digest: str, folds: Sequence[Fold]) -> str:
    """Hash the rows as little-endian int64, each fold after a line with their numbers."""
    digest = hashlib.sha256(data_digest.encode())
    for fold in folds:
        sides = (fold.training_rows, fold.validation_rows)
        digest.update(json.dumps([fold.index, *(len(rows) for rows in sides)]).encode())
        for rows in sides:
            digest.update(rows.astype("<i8").tobytes())
    return digest.hexdigest()

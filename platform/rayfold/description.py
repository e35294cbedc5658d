"""The description of a study, as its journal and MLflow hold it.

A description that an older version wrote may lack newer fields: these have defaults.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from rayfold.acceptance import Acceptance
from rayfold.data.inputs import Input
from rayfold.results import Config, Mode
from rayfold.space import SearchSpace
from rayfold.user_code import CodeRecord


@dataclass(frozen=True, kw_only=True)
class HoldoutSplit:
    """How the test rows were chosen.

    Attributes:
        fraction: Share of the rows that are test rows; 0: none.
        random_seed: Seed of the split.
        row_groups: Column of the row groups, which stay together; None: there is none.
    """

    fraction: float = 0.0
    random_seed: int = 0
    row_groups: str | None = None


@dataclass(frozen=True, kw_only=True)
class FoldSplit:
    """How the other rows were split into folds.

    Attributes:
        count: Number of folds in each repeat.
        random_seed: Seed of the split.
        kind: The kind of cross-validation, as a recipe names it.
        repeats: How often the rows are split into folds.
        row_groups: Column of the row groups, which stay together; None: there is none.
    """

    count: int
    random_seed: int
    kind: str
    repeats: int
    row_groups: str | None = None


@dataclass(frozen=True, kw_only=True)
class Parts:
    """How the rows were split into parts that are searched first.

    Attributes:
        by: What a part is, as a recipe names it.
        column: The column that says which part a row belongs to; None: no column does.
        parts: Names of the parts.
    """

    by: str
    column: str | None
    parts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PartOf:
    """Which part of another study this study searches.

    Attributes:
        of: Name of the study of all rows.
        part: Name of the part.
        rows: Number of rows in the part.
        digest: Digest of the row numbers.
    """

    of: str
    part: str
    rows: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class DataDescription:
    """The data of a study.

    Attributes:
        task: Name of the task.
        classes: What each class index stands for; None: there are no classes.
        inputs: The feature arrays, in the order of the model's inputs.
        labels: Name of the column of labels; None if unknown.
        num_outputs: Number of classes, or of values per row.
        digest: Digest of features, labels and row groups.
        num_rows: Number of rows without the test rows.
        test: How the test rows were chosen.
        source: What ``Source.describe()`` returned.
        source_code: Record of the source's code; None if the source is a class of Rayfold.
        descriptors: Numbers that show how similar two data sets are (``transfer.descriptors``);
            None in descriptions of older versions.
    """

    task: str
    classes: tuple[str | int | float | bool, ...] | None
    inputs: tuple[Input, ...]
    labels: str | None
    num_outputs: int
    digest: str
    num_rows: int
    test: HoldoutSplit = HoldoutSplit()
    source: Mapping[str, Any] = field(default_factory=dict)
    source_code: CodeRecord | None = None
    descriptors: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values; ``source`` and ``source_code`` only if there are any."""
        source: dict[str, Any] = {"source": dict(self.source)} if self.source else {}
        if self.source_code is not None:
            source["source_code"] = self.source_code.to_dict()
        return {
            "task": self.task,
            "classes": list(self.classes) if self.classes else None,
            "inputs": [entry.to_dict() for entry in self.inputs],
            "labels": self.labels,
            "num_outputs": self.num_outputs,
            "data_digest": self.digest,
            "num_rows": self.num_rows,
            "test": dataclasses.asdict(self.test),
            **source,
            "descriptors": self.descriptors,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild it from ``to_dict()``."""
        classes, code = values["classes"], values.get("source_code")
        return cls(
            task=values["task"],
            classes=tuple(classes) if classes else None,
            inputs=tuple(map(Input.from_dict, values["inputs"])),
            labels=values.get("labels"),
            num_outputs=values["num_outputs"],
            digest=values["data_digest"],
            num_rows=values["num_rows"],
            test=HoldoutSplit(**values.get("test", {})),
            source=values.get("source", {}),
            source_code=None if code is None else CodeRecord.from_dict(code),
            descriptors=values.get("descriptors"),
        )


@dataclass(frozen=True, kw_only=True)
class StudyDescription:
    """The description of a study. Journal and MLflow hold these fields and those of the data.

    Attributes:
        model: Reference of the model's class.
        code: Record of the code; None if unknown.
        data: What the data are.
        fold_digest: Digest of the folds.
        num_folds: Number of folds of a trial, over all repeats.
        folds: How the rows were split into folds.
        epochs: Epochs of each fold.
        loss: Name of the loss.
        metrics: Names of the metrics on the validation rows.
        metric: What the search optimises: ``"val_loss"``, or ``"val_"`` and a metric.
        mode: Whether a small or a large value of ``metric`` is good.
        random_seed: Seed of weights, dropout and the order of rows.
        learner: Name or reference of the learner.
        strategy: Name or reference of the strategy.
        predicts: Whether folds write predictions.
        references: Losses, metrics, optimisers and schedules that are named by reference, by kind;
            None: there are none.
        parameters: Hyperparameters that are not searched.
        start_from: What the search starts from, as a recipe names it; None: nothing.
        initial_weights: Studies whose weights trials begin with, as in a recipe; None: none.
        sub_problems: The parts that are searched first; None: there are none.
        sub_problem: Which part this study searches; None: it searches all rows.
        searcher: The searcher, as a recipe names it.
        scheduler: The scheduler, as a recipe names it; None: no trial is stopped.
        space: The search space.
        accept: Criteria that the best trial must meet.
        environment: Versions of Python, Ray, PyTorch and so on when the study began, by name.
        num_trials: Largest number of trials when the study began; the searcher is fitted to it.
            None before the start, and in descriptions of older versions.
    """

    model: str
    code: CodeRecord | None = None
    data: DataDescription
    fold_digest: str
    num_folds: int
    folds: FoldSplit
    epochs: int
    loss: str | None
    metrics: tuple[str, ...]
    metric: str
    mode: Mode
    random_seed: int
    learner: str = "supervised"
    strategy: str = "all_reduce"
    predicts: bool = True
    references: Mapping[str, Sequence[str]] | None = None
    parameters: Config
    start_from: Mapping[str, Any] | None = None
    initial_weights: Mapping[str, Any] | None = None
    sub_problems: Parts | None = None
    sub_problem: PartOf | None = None
    searcher: Mapping[str, Any]
    scheduler: Mapping[str, Any] | None = None
    space: SearchSpace
    accept: tuple[Acceptance, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    num_trials: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values, without some fields that are at their default."""
        defaults = {entry.name: entry.default for entry in dataclasses.fields(self)}
        return {
            name: value
            for name, value in self.all_fields().items()
            if name not in _ONLY_IF_OTHER or value != defaults[name]
        }

    def all_fields(self) -> dict[str, Any]:
        """Return all fields as JSON-ready values, for a comparison."""
        values: dict[str, Any] = {}
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            values |= value.to_dict() if entry.name == "data" else {entry.name: _plain(value)}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild it from ``to_dict()``; unknown fields are ignored.

        Raises:
            KeyError: If a field of the data is missing.
            TypeError: If another field is missing.
        """
        own = {
            entry.name: values[entry.name]
            for entry in dataclasses.fields(cls)
            if entry.name in values
        }
        for name, read in _READ.items():
            if own.get(name) is not None:
                own[name] = read(own[name])
        return cls(data=DataDescription.from_dict(values), **own)


_ONLY_IF_OTHER = ("learner", "strategy", "predicts", "references", "num_trials")
"""Fields that are left out at their default, because version 0.1.0 does not know them."""

_READ: Mapping[str, Callable[[Any], Any]] = {
    "code": CodeRecord.from_dict,
    "folds": lambda values: FoldSplit(**values),
    "metrics": tuple,
    "sub_problems": lambda values: Parts(**{**values, "parts": tuple(values["parts"])}),
    "sub_problem": lambda values: PartOf(**values),
    "space": SearchSpace.from_dict,
    "accept": lambda values: tuple(Acceptance(**value) for value in values),
}
"""Functions that read the fields that are not plain values."""


def _plain(value: Any) -> Any:
    """Return a field's value as JSON-ready values."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(item) for name, item in dataclasses.asdict(value).items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value

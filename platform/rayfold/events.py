"""The events of a study, one dataclass for each kind in its journal.

Journals of older versions may lack newer fields, which have defaults.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeAlias

from rayfold.description import StudyDescription
from rayfold.results import Config, Exploit, FoldResult, Status
from rayfold.user_code import CodeRecord

State: TypeAlias = Literal["started", "finished", "interrupted", "out_of_time"]
"""State of a run of a study, or how it has ended."""


@dataclass(frozen=True)
class Event:
    """The base class of events.

    Attributes:
        event: Its name in the journal.
    """

    event: ClassVar[str]

    def to_fields(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Rebuild it, without unknown fields."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in fields.items() if name in known})


@dataclass(frozen=True)
class _Taken(Event):
    """What a study took from others when it began.

    Attributes:
        taken: JSON-ready values, in the format of the subclass's owner.
    """

    taken: Mapping[str, Any]

    def to_fields(self) -> dict[str, Any]:
        """Return what was taken."""
        return dict(self.taken)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Rebuild it."""
        return cls(fields)


@dataclass(frozen=True)
class PastTaken(_Taken):
    """Configurations of earlier studies, see ``transfer.start.Start``."""

    event = "past"


@dataclass(frozen=True)
class WeightsTaken(_Taken):
    """Weights of earlier studies, see ``transfer.weights.FoundWeights``."""

    event = "initial_weights"


@dataclass(frozen=True, kw_only=True)
class StudyBegun(Event):
    """A study has begun.

    Attributes:
        name: Its name.
        id: Its identity; two studies may have the same name.
        description: Its description.
    """

    event = "study"

    name: str
    id: str
    description: StudyDescription

    def to_fields(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {"name": self.name, "id": self.id, "description": self.description.to_dict()}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Rebuild it."""
        description = StudyDescription.from_dict(fields["description"])
        return cls(name=fields["name"], id=fields["id"], description=description)


@dataclass(frozen=True)
class RunState(Event):
    """A run has begun, or ended.

    Attributes:
        state: Whether it has begun, or how it has ended.
    """

    event = "run"

    state: State


@dataclass(frozen=True, kw_only=True)
class GroupReady(Event):
    """A group was ready for the first time.

    Attributes:
        group: Its number.
        node: Id of its node.
        ready_at: When it was ready, Unix seconds.
    """

    event = "group"

    group: int
    node: str
    ready_at: float


@dataclass(frozen=True)
class CodeChanged(Event):
    """Trials are trained with other code or other packages from now on.

    Attributes:
        code: The record of that code.
    """

    event = "code"

    code: CodeRecord

    def to_fields(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {"code": self.code.to_dict()}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Rebuild it."""
        return cls(CodeRecord.from_dict(fields["code"]))


@dataclass(frozen=True, kw_only=True)
class Suggested(Event):
    """The searcher has proposed a trial.

    Attributes:
        trial: Its id.
        config: Its configuration.
        warm: Whether it begins with weights of earlier studies; None: the study has none.
        control: A fold of a warm trial that begins cold.
        code: Digest of its code; empty if unknown.
    """

    event = "suggestion"

    trial: str
    config: Config
    warm: bool | None = None
    control: int | None = None
    code: str = ""

    def to_fields(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        fields: dict[str, Any] = {"trial": self.trial, "config": dict(self.config)}
        if self.warm is not None:
            fields |= {"warm": self.warm, "control": self.control}
        return fields | ({"code": self.code} if self.code else {})


@dataclass(frozen=True, kw_only=True)
class Retried(Event):
    """A trial is tried again.

    Attributes:
        trial: Its id.
        code: Digest of its code from now on.
        fresh: Whether it forgets its folds, because their code differs.
    """

    event = "retry"

    trial: str
    code: str
    fresh: bool


@dataclass(frozen=True, kw_only=True)
class EpochTrained(Event):
    """Folds that advance together have trained an epoch.

    Attributes:
        trial: Their trial.
        epoch: Number of epochs so far.
        scores: Each fold with its score.
    """

    event = "epoch"

    trial: str
    epoch: int
    scores: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Exploited(Event):
    """A trial of a population continues from another trial's state.

    Attributes:
        exploit: The trial, the donor and the values.
    """

    event = "exploit"

    exploit: Exploit

    def to_fields(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return self.exploit.to_dict()

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Rebuild it."""
        return cls(Exploit.from_dict(fields))


@dataclass(frozen=True, kw_only=True)
class FoldTrained(Event):
    """A fold is complete.

    Attributes:
        trial: Its trial.
        result: Its result.
    """

    event = "fold"

    trial: str
    result: FoldResult

    def to_fields(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {"trial": self.trial, "result": self.result.to_dict()}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Rebuild it."""
        return cls(trial=fields["trial"], result=FoldResult.from_dict(fields["result"]))


@dataclass(frozen=True, kw_only=True)
class TrialEnded(Event):
    """A trial has ended.

    Attributes:
        trial: Its id.
        status: How it has ended.
        score: Mean over its folds; None without folds.
        standard_error: Standard error of that mean; None if unknown.
        error: The error; None if there was none.
    """

    event = "trial"

    trial: str
    status: Status
    score: float | None = None
    standard_error: float | None = None
    error: str | None = None


EVENTS: dict[str, type[Event]] = {
    kind.event: kind
    for kind in (
        PastTaken,
        WeightsTaken,
        StudyBegun,
        RunState,
        GroupReady,
        CodeChanged,
        Suggested,
        Retried,
        EpochTrained,
        Exploited,
        FoldTrained,
        TrialEnded,
    )
}
"""The events by their names in journals."""

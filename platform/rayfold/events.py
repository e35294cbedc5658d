"""What happens in a study, one dataclass for each kind of event that its journal holds.

A journal of an older version may lack fields that have come since: they have defaults.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeAlias

from rayfold.description import StudyDescription
from rayfold.results import Config, Exploit, FoldResult, Status
from rayfold.user_code import CodeRecord

State: TypeAlias = Literal["started", "finished", "interrupted", "out_of_time"]
"""How a run of a study is, or has ended."""


@dataclass(frozen=True)
class Event:
    """Something that happened; subclasses say what.

    Attributes:
        event: How the journal names it.
    """

    event: ClassVar[str]

    def to_fields(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Rebuild it; fields that are not known are left out."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in fields.items() if name in known})


@dataclass(frozen=True)
class _Taken(Event):
    """What a study took from others when it began.

    Attributes:
        taken: As JSON-ready values; whoever took it can read them.
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
        id: Tells it from others of the same name.
        description: What it is.
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
        state: Which of these, and how.
    """

    event = "run"

    state: State


@dataclass(frozen=True, kw_only=True)
class GroupReady(Event):
    """A group was ready for the first time.

    Attributes:
        group: Its number.
        node: Id of its node.
        ready_at: When that was, Unix seconds.
    """

    event = "group"

    group: int
    node: str
    ready_at: float


@dataclass(frozen=True)
class CodeChanged(Event):
    """All trials from now on are trained with other code, or other packages.

    Attributes:
        code: What that code consists of.
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
        warm: Whether it begins with weights of earlier studies; None: there are none.
        control: A fold of a warm trial that begins cold.
        code: Digest of the code that it is trained with; empty if unknown.
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
        code: Digest of the code that it is trained with from now on.
        fresh: Whether it forgets its folds, since they are of other code.
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
        epoch: How many epochs that makes.
        scores: Each fold with its score.
    """

    event = "epoch"

    trial: str
    epoch: int
    scores: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Exploited(Event):
    """A trial of a population goes on from another's state.

    Attributes:
        exploit: Which from which, and with what values.
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
        result: What came out.
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
        status: How.
        score: Mean over its folds; None without any.
        standard_error: Of that mean; None where it is not known.
        error: What went wrong; None if nothing did.
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
"""By the names that journals use."""

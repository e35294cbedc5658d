"""The content of a trial's run in MLflow, and of its entries in the journal."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from rayfold.results import Config, FoldResult
from rayfold.tracking import tags as tag

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

RUN_STATUS = {"completed": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
"""MLflow's status for each end of a trial."""


@dataclass(kw_only=True)
class TrialRun:
    """A trial's run.

    Attributes:
        run_id: MLflow's name of the run.
        run_status: MLflow's status of the run.
        params: Names of the logged parameters.
        uploaded: When each fold that is fully uploaded was finished, Unix seconds.
        settled: Whether the run is complete: the trial's end is logged, or the run was deleted.
        deleted: Whether the run was deleted.
        attempt: Number of the try that the run holds, counted from 0.
        attempt_read: The same by the entries so far; entries of earlier tries are ignored.
        started_at: When the configuration was suggested, or tried again, Unix seconds.
        suggested: The configuration that was suggested.
        first_tags: The first tags of a run of this trial.
        folds: The folds in the journal so far.
        config: The configuration by the entries so far.
        exploits: The exploits by the entries so far.
        exploit_metrics: The hyperparameters after each exploit.
    """

    run_id: str
    run_status: str = "RUNNING"
    params: frozenset[str] = frozenset()
    uploaded: dict[int, float] = field(default_factory=dict)
    settled: bool = False
    deleted: bool = False
    attempt: int = 0
    attempt_read: int = 0
    started_at: float = 0.0
    suggested: Config = field(default_factory=dict)
    first_tags: dict[str, str] = field(default_factory=dict)
    folds: dict[int, FoldResult] = field(default_factory=dict)
    config: Config = field(default_factory=dict)
    exploits: list[dict[str, Any]] = field(default_factory=list)
    exploit_metrics: list["Metric"] = field(default_factory=list)

    def forget(self) -> None:
        """Forget the entries of a try that begins anew."""
        self.config = self.suggested
        self.folds.clear()
        self.exploits.clear()
        self.exploit_metrics.clear()

    @property
    def takes_nothing(self) -> bool:
        """Whether the entries are already in the run, or do not belong there."""
        return self.settled or self.attempt_read < self.attempt

    @classmethod
    def of(cls, run: "Run") -> Self:
        """Read the content of a run."""
        tags, deleted = run.data.tags, run.info.lifecycle_stage == "deleted"
        return cls(
            run_id=run.info.run_id,
            run_status=run.info.status,
            params=frozenset(run.data.params),
            uploaded={int(k): v for k, v in json.loads(tags.get(tag.FOLDS, "{}")).items()},
            settled=deleted or tags.get(tag.STATUS) in RUN_STATUS,
            deleted=deleted,
            attempt=int(tags.get(tag.ATTEMPT, "0")),
        )

    @property
    def exploit_tags(self) -> dict[str, str]:
        """The trial's exploits as tags, the newest that fit."""
        if not self.exploits:
            return {}
        return {
            tag.DONOR: self.exploits[-1]["donor"],
            tag.EXPLOITS: _newest_that_fit(self.exploits),
        }


def _newest_that_fit(items: Sequence[Mapping[str, Any]]) -> str:
    """Return the newest items that fit a tag, as JSON."""
    first = 0
    while len(text := json.dumps(items[first:])) > tag.MAX_TAG_LENGTH:
        first += 1
    return text

"""Frozen records that the layers exchange: configurations, fold results, trial results."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

Value: TypeAlias = bool | int | float | str
"""A hyperparameter's value: always a plain Python scalar, never a NumPy one."""

Config: TypeAlias = Mapping[str, Value]
"""A configuration: dotted names to values; parameters that do not apply are absent."""

MAX_COUNT = 10**9
"""Largest accepted number of epochs, trials, groups and so on."""

MAX_SEED = 2**32 - 1
"""Largest seed that every generator of random numbers accepts."""

Mode: TypeAlias = Literal["min", "max"]
Status: TypeAlias = Literal["completed", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration to be cross-validated.

    Attributes:
        id: Name within the study, counted from ``"0000"`` in the order of suggestion.
        config: The configuration.
        lineage: How often it has taken over a state and changed its configuration.
        warm: Whether it begins with weights of earlier studies.
        control: A fold of a warm trial that begins cold, for comparison.
    """

    id: str
    config: Config
    lineage: int = 0
    warm: bool = False
    control: int | None = None


@dataclass(frozen=True)
class ValueChange:
    """Hyperparameters that change while a model trains.

    Attributes:
        what: Name of the change in messages.
        before: The configuration before it.
        after: The configuration after it.
    """

    what: str
    before: Config
    after: Config


@dataclass(frozen=True, kw_only=True)
class Exploit:
    """A trial of a population that has taken over another's state, fold by fold.

    Attributes:
        trial: The trial that continues from that state.
        donor: The trial that the state comes from; the trial itself if only values have changed.
        epoch: Epochs that the state has been trained for.
        config: The trial's configuration from then on.
        changed: The values that differ from the donor's configuration.
        scores: Score of each fold at that epoch, as pairs of fold and score.
        states: SHA-256 of the copied checkpoint of each fold, in order of the folds.
        restart: Whether the weights were shrunk and perturbed, and values drawn anew.
        diverged: Whether the reason was a loss of the trial that was not finite.
    """

    trial: str
    donor: str
    epoch: int
    config: Config
    changed: Config
    scores: tuple[tuple[int, float], ...]
    states: tuple[str, ...]
    restart: bool = False
    diverged: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a record from ``to_dict()``."""
        scores = tuple((fold, score) for fold, score in values["scores"])
        return cls(**{**values, "scores": scores, "states": tuple(values["states"])})


@dataclass(frozen=True, kw_only=True)
class LoadedWeights:
    """The origin of a fold's initial weights.

    Attributes:
        study: Name of the earlier study.
        trial: Name of the trial within it.
        fold: Index of its fold.
        num_loaded: Number of tensors of the model that were loaded.
        num_tensors: Number of all its tensors.
    """

    study: str
    trial: str
    fold: int
    num_loaded: int
    num_tensors: int

    def __str__(self) -> str:
        """``6 of 8 tensors of digits/0007, fold 2``."""
        return (
            f"{self.num_loaded} of {self.num_tensors} tensors of {self.study}/{self.trial}, "
            f"fold {self.fold}"
        )


@dataclass(frozen=True, kw_only=True)
class FoldResult:
    """One fold of a trial, trained to its last epoch.

    Attributes:
        fold: Index of the fold, counted from 0.
        score: The study's metric on the validation rows after the last epoch.
        history: One mapping per epoch, metric name to value (``train_loss``, ``val_loss``,
            ``val_accuracy`` ..., ``learning_rate``), with ``finished_at`` in Unix seconds.
        started_at: When training began, Unix seconds.
        finished_at: When everything was written, Unix seconds.
        busy_seconds: Time spent in training steps and validation.
        weights: Path of the safetensors weights, relative to the study's folder.
        predictions: Path of the out-of-fold predictions, relative to the study's folder; None for
            a learner without predictions.
        initial: Origin of its initial weights; None: it began cold.
    """

    fold: int
    score: float
    history: tuple[Mapping[str, float], ...]
    started_at: float
    finished_at: float
    busy_seconds: float
    weights: str
    predictions: str | None
    initial: LoadedWeights | None = None

    def __repr__(self) -> str:
        """Return a summary of one line; the history would fill pages."""
        return (
            f"<FoldResult {self.fold}: score {self.score:.6g} after {len(self.history)} epochs, "
            f"{self.busy_seconds:.1f} s>"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a record from ``to_dict()``."""
        initial = values.get("initial")
        return cls(
            **{
                **values,
                "history": tuple(values["history"]),
                "initial": None if initial is None else LoadedWeights(**initial),
            }
        )


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One finished trial.

    Attributes:
        id: Name within the study.
        config: The configuration.
        status: ``"completed"`` (all folds), ``"stopped"`` (dropped early) or ``"failed"``.
        score: Mean of the folds' scores; None when no fold finished.
        standard_error: Standard error of that mean; None with fewer than two folds.
        folds: The finished folds, in order of their index.
        error: The error with its traceback, if the status is ``"failed"``; the reason, if it was
            stopped without a score.
        started_at: When the configuration was suggested, Unix seconds.
        finished_at: When the last fold was done, Unix seconds.
        exploits: The states that it has taken over, in order.
        schedule: Pairs of an epoch and the configuration from then on, over all states that its
            folds come from; empty if ``config`` never changed.
        warm: Whether it was to begin with weights of earlier studies; None if the study has none.
    """

    id: str
    config: Config
    status: Status
    score: float | None
    standard_error: float | None
    folds: tuple[FoldResult, ...]
    error: str | None
    started_at: float
    finished_at: float
    exploits: tuple[Exploit, ...] = ()
    schedule: tuple[tuple[int, Config], ...] = ()
    warm: bool | None = None

    def __repr__(self) -> str:
        """Return a summary of one line; folds and traceback would fill pages."""
        score = "no score" if self.score is None else f"score {self.score:.6g}"
        error = "" if self.standard_error is None else f" ± {self.standard_error:.2g}"
        config = shortened(", ".join(f"{name}={value}" for name, value in self.config.items()))
        return (
            f"<TrialResult {self.id} {self.status}: {score}{error}, {len(self.folds)} folds, "
            f"{config}>"
        )

    def measured(self, metric: str) -> tuple[float, float | None] | None:
        """Return the mean of a metric over the finished folds, and its standard error.

        Args:
            metric: A name of the folds' histories, ``"val_accuracy"``; its value after the last
                epoch counts.

        Returns:
            None if no fold is finished, or one of them has no such value.
        """
        return mean_of_known([fold.history[-1].get(metric) for fold in self.folds])


def mean_and_standard_error(scores: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of the folds' scores and the standard error of that mean.

    The standard error is the sample standard deviation divided by the root of the number of
    scores; None for a single score.

    Raises:
        ValueError: If ``scores`` is empty.
    """
    if not scores:
        raise ValueError("scores is empty; a trial needs at least one finished fold.")
    mean = math.fsum(scores) / len(scores)
    if len(scores) == 1:
        return mean, None
    variance = math.fsum((score - mean) ** 2 for score in scores) / (len(scores) - 1)
    return mean, math.sqrt(variance / len(scores))


def shortened(text: str, length: int = 100) -> str:
    """Return a text in one line of limited length."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 3]}..."


def mean_of_known(values: Sequence[float | None]) -> tuple[float, float | None] | None:
    """Return ``mean_and_standard_error``; None without values, or if one is not known."""
    known = [value for value in values if value is not None]
    return mean_and_standard_error(known) if known and len(known) == len(values) else None

"""Frozen records that travel between the layers: configurations, fold results, trial results."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

Value: TypeAlias = bool | int | float | str
"""A hyperparameter's value: always a plain Python scalar, never a NumPy one."""

Config: TypeAlias = Mapping[str, Value]
"""A configuration: dotted names to values; inactive conditional parameters are absent."""

MAX_COUNT = 10**9
"""Largest number of epochs, trials, groups and the like that anything takes."""

MAX_SEED = 2**32 - 1
"""Largest seed that every generator of random numbers takes."""

Mode: TypeAlias = Literal["min", "max"]
Status: TypeAlias = Literal["completed", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration to be cross-validated.

    Attributes:
        id: Name within the study, counted from ``"0000"`` in the order of suggestion.
        config: The configuration.
        lineage: How often it has taken over a state, and its configuration was changed.
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
        what: How messages name the change.
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
        trial: The trial that goes on from that state.
        donor: Whose state it is; the trial itself where only values have changed.
        epoch: Epochs that the state has been trained for.
        config: The trial's configuration from then on.
        changed: What differs in it from the donor's.
        scores: Score of each fold at that epoch, as pairs of fold and score.
        states: SHA-256 of the copied checkpoint of each fold, in order of the folds.
        restart: Whether the weights were shrunk and perturbed, and values drawn anew.
        diverged: Whether it was due because a loss of the trial was no longer finite.
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
    """Where the weights come from that a fold began with.

    Attributes:
        study: Name of the earlier study.
        trial: Name of the trial within it.
        fold: Index of its fold.
        num_loaded: How many tensors of the model were loaded.
        num_tensors: How many it has.
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
        predictions: Path of the out-of-fold predictions, relative to the study's folder; None of a
            learner that predicts nothing.
        initial: Where the weights come from that it began with; None: it began cold.
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
        """Return what it is in a line: its history alone would fill pages."""
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
        error: What went wrong, with the traceback, when the status is ``"failed"``; why there is
            no score when it was stopped without one.
        started_at: When the configuration was suggested, Unix seconds.
        finished_at: When the last fold was done, Unix seconds.
        exploits: The states that it has taken over, in order.
        schedule: Pairs of an epoch and the configuration from then on, along the line of states
            that has led to its folds; empty where ``config`` is all.
        warm: Whether it was to begin with weights of earlier studies; None where the study has
            none.
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
        """Return what it is in a line: its folds and its traceback would fill pages."""
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
    """Return a text in one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 3]}..."


def mean_of_known(values: Sequence[float | None]) -> tuple[float, float | None] | None:
    """Return ``mean_and_standard_error``; None without values, or where one is not known."""
    known = [value for value in values if value is not None]
    return mean_and_standard_error(known) if known and len(known) == len(values) else None

"""Criteria that a study must meet, and whether it meets them."""

from dataclasses import dataclass
from typing import Self

from rayfold.options import options
from rayfold.options.fields import Number, Text


@options("accept")
class Acceptance:
    """A bound on a metric of the best trial."""

    metric: Text
    """The metric, such as val_accuracy."""
    at_least: Number | None = None
    """Lower bound of the mean over folds."""
    at_most: Number | None = None
    """Upper bound of the mean over folds."""

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            came = "neither" if self.at_least is None else "both"
            raise ValueError(f"must have either at_least or at_most, got {came}")

    def to_dict(self) -> dict[str, str | float]:
        """Return it as JSON-ready values."""
        bound = {"at_least": self.at_least, "at_most": self.at_most}
        return {"metric": self.metric, **{k: v for k, v in bound.items() if v is not None}}


@dataclass(frozen=True)
class Verdict:
    """Whether a criterion is met.

    Attributes:
        criterion: The criterion.
        value: Mean of the metric over the folds; None if there is no such value.
        standard_error: Standard error of that mean.
    """

    criterion: Acceptance
    value: float | None
    standard_error: float | None = None

    @classmethod
    def of(cls, criterion: Acceptance, measured: tuple[float, float | None] | None) -> Self:
        """Return the verdict on a mean and its standard error; None: there is no value."""
        return cls(criterion, *(measured or (None, None)))

    @property
    def met(self) -> bool:
        """Whether there is a value that meets the criterion."""
        low, high = self.criterion.at_least, self.criterion.at_most
        if self.value is None:
            return False
        return self.value >= low if low is not None else high is None or self.value <= high

    def __str__(self) -> str:
        """``met: val_accuracy 0.9712 ± 0.0031, asked for at least 0.95``."""
        low, high = self.criterion.at_least, self.criterion.at_most
        asked = f"at least {low:g}" if low is not None else f"at most {high:g}"
        error = "" if self.standard_error is None else f" ± {self.standard_error:.4g}"
        value = "no value" if self.value is None else f"{self.value:.6g}{error}"
        return (
            f"{'met' if self.met else 'not met'}: {self.criterion.metric} {value}, "
            f"asked for {asked}"
        )

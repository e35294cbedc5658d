"""Earlier studies for a new search: their configurations and scores, in its space."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from rayfold.errors import RecipeError, SpaceError, one_of
from rayfold.results import Config, Mode
from rayfold.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class PastStudy:
    """Completed trials of one earlier study.

    Attributes:
        name: Its name, for the log.
        mode: Whether lower or higher scores are better; its metric may differ.
        configs: Configurations of the *new* search's space, at least one.
        scores: Their scores, all finite.

    Raises:
        RecipeError: If there is no trial, the numbers of scores and configurations differ, or a
            score is not finite.
    """

    name: str
    mode: Mode
    configs: tuple[Config, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        one_of("mode", self.mode, get_args(Mode))
        if not self.configs or len(self.configs) != len(self.scores):
            raise RecipeError(
                f"past study {self.name!r} needs one score for each of one or more "
                f"configurations, got {len(self.configs)} and {len(self.scores)}."
            )
        if not all(math.isfinite(score) for score in self.scores):
            raise RecipeError(
                f"past study {self.name!r} has a score that is not finite; leave that trial out."
            )

    @property
    def normal_scores(self) -> NDArray[np.float64]:
        """The scores' ranks as quantiles of a normal distribution, shape ``(n,)``.

        Lower is better. They can be compared across studies, whatever the metric and its outliers.
        """
        sign = 1.0 if self.mode == "min" else -1.0
        ranks = rankdata(sign * np.array(self.scores))
        quantiles: NDArray[np.float64] = ndtri((ranks - 0.5) / len(ranks))
        return quantiles


@dataclass(frozen=True)
class Past:
    """The earlier studies that a search starts from; it may be empty.

    Attributes:
        studies: The studies, the most trusted first.
    """

    studies: tuple[PastStudy, ...] = ()

    def check(self, space: SearchSpace) -> None:
        """Check that all configurations lie in a space.

        Raises:
            SpaceError: If one does not; the message names its study and its index from 0.
        """
        for study in self.studies:
            for number, config in enumerate(study.configs):
                try:
                    space.check(config)
                except SpaceError as error:
                    raise SpaceError(f"past study {study.name!r}, {number}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        return {
            "studies": [
                {
                    "name": study.name,
                    "mode": study.mode,
                    "configs": [dict(config) for config in study.configs],
                    "scores": list(study.scores),
                }
                for study in self.studies
            ]
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a record from ``to_dict()``."""
        return cls(
            tuple(
                PastStudy(
                    name=study["name"],
                    mode=study["mode"],
                    configs=tuple(study["configs"]),
                    scores=tuple(study["scores"]),
                )
                for study in values["studies"]
            )
        )

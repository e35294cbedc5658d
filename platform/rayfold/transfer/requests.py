"""What a study may be asked to take from earlier ones, as users write it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from rayfold.errors import RecipeError, did_you_mean
from rayfold.options import options
from rayfold.options.fields import Share, Texts, plain
from rayfold.space import SearchSpace

SIMILAR = "similar"
"""Stands for the studies of the most similar data, where a study's name could stand alone."""


@options("initial_weights")
class InitialWeights:
    """What the trials of a study begin with."""

    studies: Texts
    """Earlier studies in MLflow, names or ids."""
    shrink: Annotated[float, Field(strict=True, gt=0, le=1), plain] = 0.6
    """Factor of the loaded weights; with 1, and a noise of 0, they are taken as they are."""
    noise: Share = 0.1
    """Factor of the fresh weights that are added to them."""
    frozen_epochs: Annotated[int, Field(strict=True, ge=0), plain] = 0
    """Epochs for which loaded weights stay as they are."""
    learning_rate_factor: Annotated[float, Field(strict=True, gt=0, le=1), plain] = 1.0
    """Factor of the learning rate of loaded weights."""

    def settings(self) -> dict[str, Any]:
        """Return the request as the journal holds it."""
        return {
            "studies": list(self.studies),
            "shrink": self.shrink,
            "noise": self.noise,
            "frozen_epochs": self.frozen_epochs,
            "learning_rate_factor": self.learning_rate_factor,
        }


@dataclass(frozen=True)
class StartFrom:
    """What the search of a study starts from.

    Attributes:
        studies: Names or ids of studies in MLflow; ``"similar"``, not in a list, chooses them.
        rename: Names of the past's parameters to names of the new space.
        prune_space: Whether to search only the box around what was good.
    """

    studies: str | Sequence[str]
    rename: Mapping[str, str] = field(default_factory=dict)
    prune_space: bool = False

    def check(self, space: SearchSpace) -> None:
        """Check the new names.

        Raises:
            RecipeError: If one is none of the space, or two parameters get the same.
        """
        targets = list(self.rename.values())
        for old, new in self.rename.items():
            if new not in space:
                raise RecipeError(
                    f"rename: {old!r} becomes {new!r}, which is no parameter of the space"
                    f"{did_you_mean(new, space.names)}; it has {', '.join(space)}."
                )
            if targets.count(new) > 1:
                raise RecipeError(f"rename: several parameters become {new!r}; keep one.")

    def settings(self) -> dict[str, Any]:
        """Return the request as the journal holds it."""
        studies = self.studies if isinstance(self.studies, str) else list(self.studies)
        return {
            "studies": studies,
            "rename": dict(self.rename),
            "prune_space": self.prune_space,
        }

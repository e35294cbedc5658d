"""Options that say what a study takes from earlier studies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from rayfold.errors import RecipeError, did_you_mean
from rayfold.options import options
from rayfold.options.fields import Share, Texts, plain
from rayfold.space import SearchSpace

SIMILAR = "similar"
"""In place of a study's name: the studies with the most similar data."""


@options("initial_weights")
class InitialWeights:
    """Models of earlier studies that trials begin with."""

    studies: Texts
    """Earlier studies in MLflow, names or ids."""
    shrink: Annotated[float, Field(strict=True, gt=0, le=1), plain] = 0.6
    """Factor of the loaded weights; with 1 and a noise of 0, they are taken unchanged."""
    noise: Share = 0.1
    """Factor of the fresh weights that are added to the loaded ones."""
    frozen_epochs: Annotated[int, Field(strict=True, ge=0), plain] = 0
    """Number of first epochs in which loaded weights do not change."""
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
    """The earlier studies that a search starts from.

    Attributes:
        studies: Names or ids of studies in MLflow; ``"similar"``, not in a list, chooses them.
        rename: Names of parameters in the earlier studies to names in the new space.
        prune_space: Whether to search only the box around good configurations.
    """

    studies: str | Sequence[str]
    rename: Mapping[str, str] = field(default_factory=dict)
    prune_space: bool = False

    def check(self, space: SearchSpace) -> None:
        """Check the new names.

        Raises:
            RecipeError: If a name is not in the space, or two parameters get the same name.
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

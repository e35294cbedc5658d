"""What the calls that build ensembles are given, checked."""

from collections.abc import Sequence
from numbers import Real
from typing import TypeGuard

from rayfold.ensemble.budget import Budget
from rayfold.ensemble.builders import Builder
from rayfold.errors import EnsembleError


def check_builders(builders: object) -> Sequence[Builder]:
    """Return builders, at least one.

    Raises:
        EnsembleError: If there is none, or one is something else.
    """
    if not isinstance(builders, list | tuple) or not builders:
        raise EnsembleError(f"builders must name at least one builder, got {builders!r}.")
    for builder in builders:
        if not isinstance(builder, Builder):
            raise EnsembleError(f"a builder must be a Builder such as Greedy(), got {builder!r}.")
    return builders


def check_options(budget: object, min_share: object, sub_problems: object) -> None:
    """Check what may go with any builder.

    Raises:
        EnsembleError: If one is out of range; the message names it.
    """
    if budget is not None and not isinstance(budget, Budget):
        raise EnsembleError(
            f"budget must be a Budget, such as Budget(max_members=5), got {budget!r}."
        )
    if not is_number(min_share) or not 0 < min_share <= 1:
        raise EnsembleError(f"min_share must be in (0, 1], got {min_share!r}.")
    if not isinstance(sub_problems, bool):
        raise EnsembleError(f"sub_problems must be True or False, got {sub_problems!r}.")


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a real number, and not true or false."""
    return isinstance(value, Real) and not isinstance(value, bool)

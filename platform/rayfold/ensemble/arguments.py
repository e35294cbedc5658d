"""What the calls that build, export and load ensembles are given, checked."""

import os
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import TypeGuard

from rayfold.ensemble.budget import Budget
from rayfold.ensemble.builders import Builder
from rayfold.errors import BundleError, EnsembleError


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


def check_export(licence: object, report: object) -> None:
    """Check what goes into a bundle's card.

    Raises:
        BundleError: If one is something else; the message names it.
    """
    if licence is not None and (not isinstance(licence, str) or not licence.strip()):
        raise BundleError(f"licence must be a text such as 'CC-BY-4.0', got {licence!r}.")
    if report is not None and not (hasattr(report, "sections") and hasattr(report, "plots")):
        raise BundleError(
            f"report must be what Ensemble.report or find_out return, got {report!r}."
        )


def bundle_folder(folder: object) -> Path:
    """Return the folder of a bundle.

    Raises:
        BundleError: If it is no path.
    """
    if not isinstance(folder, str | os.PathLike):
        raise BundleError(f"a bundle is a folder, got {folder!r}; give its path.")
    return Path(folder)


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a real number, and not true or false."""
    return isinstance(value, Real) and not isinstance(value, bool)

"""Schedulers by the names that recipes use."""

import inspect
from collections.abc import Mapping
from typing import Any

from rayfold.errors import RecipeError, did_you_mean
from rayfold.schedulers.base import Scheduler
from rayfold.schedulers.halving import Halving
from rayfold.schedulers.population import Population
from rayfold.schedulers.racing import Racing
from rayfold.schedulers.racing_halving import RacingHalving
from rayfold.schedulers.replay import Replay

SCHEDULERS: dict[str, type[Scheduler]] = {
    "racing": Racing,
    "halving": Halving,
    "racing_halving": RacingHalving,
    "population": Population,
    "replay": Replay,
}
"""Name in a recipe to class."""


def create(name: str, arguments: Mapping[str, Any] | None = None) -> Scheduler:
    """Return a new scheduler, not yet started.

    Args:
        name: One of ``SCHEDULERS``.
        arguments: Keyword arguments of its constructor.

    Raises:
        RecipeError: If there is no such scheduler or argument, or an argument is out of range.

    Example::

        create("racing", {"rule": "paired", "level": 0.1})
    """
    if name not in SCHEDULERS:
        hint = did_you_mean(str(name), list(SCHEDULERS))
        raise RecipeError(f"scheduler must be one of {', '.join(SCHEDULERS)}, got {name!r}{hint}.")
    scheduler = SCHEDULERS[name]
    known = list(inspect.signature(scheduler).parameters)
    for argument in arguments or {}:
        if argument not in known:
            hint = did_you_mean(str(argument), known)
            raise RecipeError(f"{name} takes {', '.join(known)}, got {argument!r}{hint}.")
    try:
        return scheduler(**(arguments or {}))
    except RecipeError as error:
        raise RecipeError(f"{name}: {error}") from None

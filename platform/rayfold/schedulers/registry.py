"""Schedulers by the names that recipes use."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rayfold.registry import create_by_name
from rayfold.schedulers.base import Scheduler
from rayfold.schedulers.halving import Halving
from rayfold.schedulers.population import Population
from rayfold.schedulers.racing import Racing
from rayfold.schedulers.replay import Replay

SCHEDULERS: dict[str, type[Scheduler]] = {
    "racing": Racing,
    "halving": Halving,
    "population": Population,
    "replay": Replay,
}
"""Name in a recipe to class."""


def create(
    name: str, arguments: Mapping[str, Any] | None = None, *, base: Path | None = None
) -> Scheduler:
    """Return a new scheduler, not yet started.

    Args:
        name: One of ``SCHEDULERS``, or a reference to your own class.
        arguments: Keyword arguments of its constructor.
        base: Folder that files are relative to; None is the current folder.

    Raises:
        RecipeError: If there is no such scheduler or argument, or an argument is out of range.

    Example::

        create("racing", {"rule": "paired", "level": 0.1})
    """
    return create_by_name(
        Scheduler,  # type: ignore[type-abstract]
        SCHEDULERS,
        name,
        arguments,
        base=base,
    )

"""Searchers by the names that recipes use."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rayfold.registry import create_by_name
from rayfold.search.base import Searcher
from rayfold.search.bayesian import Bayesian
from rayfold.search.fixed import Fixed
from rayfold.search.genetic import Genetic
from rayfold.search.random import Random

SEARCHERS: dict[str, type[Searcher]] = {
    "random": Random,
    "genetic": Genetic,
    "bayesian": Bayesian,
    "fixed": Fixed,
}
"""Name in a recipe to class."""


def create(
    name: str, arguments: Mapping[str, Any] | None = None, *, base: Path | None = None
) -> Searcher:
    """Return a new searcher, not yet started.

    Args:
        name: One of ``SEARCHERS``, or a reference to your own class.
        arguments: Keyword arguments of its constructor.
        base: Folder that files are relative to; None is the current folder.

    Raises:
        RecipeError: If there is no such searcher or argument, or an argument is out of range.

    Example::

        create("genetic", {"population": 16, "generations": 8})
    """
    return create_by_name(
        Searcher,  # type: ignore[type-abstract]
        SEARCHERS,
        name,
        arguments,
        base=base,
    )

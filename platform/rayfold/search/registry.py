"""Searchers by the names that recipes use."""

import inspect
from collections.abc import Mapping
from typing import Any

from rayfold.errors import RecipeError, did_you_mean
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


def create(name: str, arguments: Mapping[str, Any] | None = None) -> Searcher:
    """Return a new searcher, not yet started.

    Args:
        name: One of ``SEARCHERS``.
        arguments: Keyword arguments of its constructor.

    Raises:
        RecipeError: If there is no such searcher or argument, or an argument is out of range.

    Example::

        create("genetic", {"population": 16, "generations": 8})
    """
    if name not in SEARCHERS:
        hint = did_you_mean(str(name), list(SEARCHERS))
        raise RecipeError(f"searcher must be one of {', '.join(SEARCHERS)}, got {name!r}{hint}.")
    searcher = SEARCHERS[name]
    known = list(inspect.signature(searcher).parameters)
    for argument in arguments or {}:
        if argument not in known:
            hint = did_you_mean(str(argument), known)
            raise RecipeError(f"{name} takes {', '.join(known)}, got {argument!r}{hint}.")
    try:
        return searcher(**(arguments or {}))
    except RecipeError as error:
        raise RecipeError(f"{name}: {error}") from None

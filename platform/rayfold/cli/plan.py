"""``rayfold plan``: check a recipe and print what it would run."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer

from rayfold.cli.options import Overrides, RecipePath

if TYPE_CHECKING:
    from rayfold.recipe import Recipe


def plan(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Check a recipe and print what it would run; starts no Ray.

    It reads the data, imports the model and tries it at the ends of the search space.
    """
    from rayfold.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())  # the rest takes seconds to import
    from rayfold.study import Study

    study = Study.from_recipe(loaded)
    lines = study.plan().lines()
    typer.echo(f"study      {study.name} in {study.folder}")
    for line in [*_search_lines(loaded), *lines]:
        typer.echo(line)


def _search_lines(recipe: "Recipe") -> Iterator[str]:
    """Yield the searcher, the scheduler and the limits of time."""
    given, options = recipe.document.get("search", {}), recipe.specification
    for kind in ("searcher", "scheduler"):
        if given.get(kind) is not None:
            yield f"{kind:9}  {_in_words(given[kind])}"
    if options.max_time is not None:
        yield f"time       {options.max_time:g} s for the study"
    if options.max_time_per_trial is not None:
        yield f"time       {options.max_time_per_trial:g} s for each trial"


def _in_words(named: str | Mapping[str, Mapping[str, Any] | None]) -> str:
    if isinstance(named, str):
        return named
    ((name, arguments),) = named.items()
    given = ", ".join(f"{key}: {value}" for key, value in (arguments or {}).items())
    return f"{name} ({given})" if given else name

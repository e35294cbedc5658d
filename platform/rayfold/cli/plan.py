"""``rayfold plan``: check a recipe and say what it would run."""

import typer

from rayfold.cli.options import Overrides, RecipePath


def plan(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Check a recipe and print what it would run; starts nothing.

    The data are read, the model is imported and the search space is held against it.
    """
    from rayfold.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())  # the rest takes seconds to import
    from rayfold.study import Study

    study = Study.from_recipe(loaded)
    lines = study.plan().lines()
    typer.echo(f"study      {study.name} in {study.folder}")
    for line in lines:
        typer.echo(line)

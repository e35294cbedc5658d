"""``rayfold plan``: check a recipe and say what it would run."""

import typer

from rayfold.cli.options import Overrides, RecipePath


def plan(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Check a recipe, its data and its model, and print what would run; starts nothing."""
    from rayfold.recipe import load_recipe
    from rayfold.study import Study

    study = Study.from_recipe(load_recipe(recipe, overrides or ()))
    lines = study.plan().lines()
    typer.echo(f"study      {study.name} in {study.folder}")
    for line in lines:
        typer.echo(line)

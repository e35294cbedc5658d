"""``rayfold run``: run a recipe, or go on where it stopped."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from rayfold.cli.options import Overrides, RecipePath
from rayfold.cli.output import AllColumns, print_table


def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join; else $RAY_ADDRESS, else start Ray.")
    ] = None,
    all_columns: AllColumns = False,
) -> None:
    """Run a recipe; the same command again goes on where it stopped.

    Exit status 1 when the best trial does not reach what the recipe accepts, or all failed.
    """
    from rayfold.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())  # the rest takes seconds to import
    from rayfold.study import Study

    study = Study.from_recipe(loaded)
    result = study.run(address=address)
    for part in result.parts:
        typer.echo(part.name)
        print_table(part.table(), all_columns=all_columns)
        typer.echo()
    print_table(result.table(), all_columns=all_columns)
    failed = sum(trial.status == "failed" for trial in result.trials)
    if failed:
        typer.echo(
            f"{failed} of {len(result.trials)} trials failed; their tracebacks are in MLflow "
            f"(error.txt) and in {study.folder / 'journal.jsonl'}, their errors in "
            f"'rayfold trials {study.name} --failed'"
        )
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    if result.interrupted:
        typer.echo(f"Interrupted. Run '{command}' again to go on.")
        raise typer.Exit(130)
    if result.out_of_time:
        typer.echo(f"The time is up. Run '{command}' again to go on for as long.")
    verdicts = result.judge(study.accept)
    for verdict in verdicts:
        typer.echo(f"accept     {verdict}")
    if not all(verdict.met for verdict in verdicts) or (failed and failed == len(result.trials)):
        raise typer.Exit(1)

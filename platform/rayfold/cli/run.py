"""``rayfold run``: run a recipe, or resume it."""

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
    accept_changed_code: Annotated[
        bool,
        typer.Option(
            "--accept-changed-code",
            help="Resume although the model's code has changed; recorded for each trial.",
        ),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also run failed trials again.")
    ] = False,
    all_columns: AllColumns = False,
) -> None:
    """Run a recipe; the same command again resumes it.

    Exit status: 0 done; 1 the best trial does not meet accept, or all trials failed; 2 wrong
    input; 75 a fault of the machine or of Ray: mend it and run the same command again; 130
    interrupted: run the same command again to resume.
    """
    from rayfold.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())  # the rest takes seconds to import
    from rayfold.study import Study

    study = Study.from_recipe(loaded)
    result = study.run(
        address=address, accept_changed_code=accept_changed_code, retry_failed=retry_failed
    )
    for part in result.parts:
        typer.echo(part.name)
        print_table(part.table(), all_columns=all_columns)
        typer.echo()
    print_table(result.table(), all_columns=all_columns)
    failed = sum(trial.status == "failed" for trial in result.trials)
    if failed:
        typer.echo(
            f"{failed} of {len(result.trials)} trials failed; 'rayfold trials {study.name} "
            f"--failed' lists their errors, {study.folder / 'journal.jsonl'} has the tracebacks. "
            "Correct the code, or add --retry-failed, and run the same command to try them again."
        )
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    if result.interrupted:
        typer.echo(f"Interrupted. Run '{command}' again to resume.")
        raise typer.Exit(130)
    if result.out_of_time:
        typer.echo(f"max_time is over. Run '{command}' again to resume for the same time.")
    verdicts = result.judge(study.accept)
    for verdict in verdicts:
        typer.echo(f"accept     {verdict}")
    if not all(verdict.met for verdict in verdicts) or (failed and failed == len(result.trials)):
        raise typer.Exit(1)

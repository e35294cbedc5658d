"""``rayfold simulate``: a recipe's search in simulated time, from tabulated scores."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rayfold.cli.options import Overrides, RecipePath
from rayfold.results import MAX_COUNT

if TYPE_CHECKING:
    from rayfold.results import Mode
    from rayfold.simulation import Simulation
    from rayfold.specification import Specification


def simulate(
    recipe: RecipePath,
    table: Annotated[
        Path, typer.Option(help="Scores and running times: CSV, or HDF5 (.h5, .hdf5).")
    ],
    groups: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_COUNT, help="Groups; else the recipe's groups.maximum."),
    ] = None,
    overrides: Overrides = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(help="Begin no trial later, in simulated seconds; else search.max_time."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Score to be reached; else that of the table's best 0.1 %."),
    ] = None,
    charge: Annotated[
        Literal["measured", "none"],
        typer.Option(help="Charge what the searcher and the study cost, or training alone."),
    ] = "measured",
    fold_start: Annotated[
        float | None,
        typer.Option(min=0, max=MAX_COUNT, help="Seconds charged for a fold's start."),
    ] = None,
    journal_append: Annotated[
        float | None,
        typer.Option(min=0, max=MAX_COUNT, help="Seconds charged for an entry of the journal."),
    ] = None,
    random_seed: Annotated[
        int, typer.Option(min=0, help="Seed of drawing from a table's repetitions.")
    ] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Write the best score over time to this new CSV file.")
    ] = None,
) -> None:
    """Run a recipe's search in simulated time, on any number of groups; trains nothing.

    The searcher is the real one. Scores and running times come from a table with a row per
    configuration. It needs neither data nor model.
    """
    from rayfold.recipe import load_recipe
    from rayfold.simulation import Charges, read_table
    from rayfold.simulation import simulate as run_simulation

    options = load_recipe(recipe, overrides or ()).specification
    _check_seconds_per_trial(options)
    _check_threshold(threshold)
    _check_max_seconds(max_seconds)
    if output is not None:
        _check_new_file(output)
    mode = _mode(options)
    given = {"fold_start": fold_start, "journal_append": journal_append}
    constants = {name: seconds for name, seconds in given.items() if seconds is not None}
    if charge == "none":
        constants = {"fold_start": 0.0, "journal_append": 0.0} | constants
    charges = Charges(searcher=charge == "measured", **constants)
    num_trials, scheduler = options.limit(), options.scheduler
    searcher = options.searcher.fitted(num_trials)
    searcher.start(options.space, mode=mode)
    if scheduler is not None:
        scheduler.start(
            mode=mode,
            num_folds=options.folds.total,
            epochs=options.epochs,
            repeats=options.folds.repeats,
        )
    rows = read_table(table, options.space, epochs=options.epochs)
    simulation = run_simulation(
        searcher,
        rows,
        num_groups=groups if groups is not None else options.groups.maximum,
        num_trials=num_trials,
        num_folds=options.folds.total,
        groups_per_trial=options.groups.per_trial,
        max_seconds=max_seconds if max_seconds is not None else options.max_time,
        scheduler=scheduler,
        charges=charges,
        random_seed=random_seed,
    )
    if threshold is None:
        threshold = rows.good_score(mode)
    good = {"min": "low", "max": "high"}[mode]
    typer.echo(f"score        {options.metric}, {good} is good")
    for line in simulation.lines(threshold):
        typer.echo(line)
    if output is not None:
        _write(simulation, output)
        typer.echo(f"written to {output}")


def _check_seconds_per_trial(options: "Specification") -> None:
    """Refuse a limit that ends trials within a fold, of which the table knows nothing."""
    from rayfold.errors import RecipeError

    if options.max_time_per_trial is not None:
        raise RecipeError(
            "search.max_time_per_trial ends a trial after an epoch, but the table holds whole "
            "folds; simulate without it: --set search.max_time_per_trial=null."
        )


def _check_threshold(threshold: float | None) -> None:
    from rayfold.errors import RecipeError

    if threshold is not None and not math.isfinite(threshold):
        raise RecipeError(f"--threshold must be a finite number, got {threshold}.")


def _check_max_seconds(max_seconds: float | None) -> None:
    from rayfold.errors import RecipeError

    if max_seconds is not None and not 0 < max_seconds < math.inf:
        raise RecipeError(f"--max-seconds must be above 0 and finite, got {max_seconds}.")


def _check_new_file(path: Path) -> None:
    """Check that a file can be made, before anything runs."""
    from rayfold.errors import DataError

    if path.exists():
        raise DataError(f"{path} exists; choose another file for the best score over time.")
    folder = path.parent
    if not folder.is_dir():
        raise DataError(f"{path} cannot be written: there is no folder {folder}; make it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(
            f"{path} cannot be written: the folder {folder} allows no new files; choose another."
        )


def _mode(options: "Specification") -> "Mode":
    """Return whether a small or a large score is good, without reading the data."""
    metric = options.metric
    if options.mode is not None:
        return options.mode
    if metric == "val_loss":
        return "min"
    from rayfold.errors import RecipeError
    from rayfold.tasks import TASKS

    for task in TASKS.values():
        if measured := task.metrics.get(metric.removeprefix("val_")):
            return measured.mode
    raise RecipeError(f"search.metric {metric!r} is unknown; say in search.mode which are good.")


def _write(simulation: "Simulation", path: Path) -> None:
    from rayfold.errors import DataError

    try:
        simulation.best_table().to_csv(path, index=False)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror or error}).") from None

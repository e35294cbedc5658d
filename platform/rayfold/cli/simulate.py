"""``rayfold simulate``: a recipe's search in simulated time, from tabulated scores."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rayfold.cli.options import Overrides, RecipePath
from rayfold.results import MAX_COUNT

if TYPE_CHECKING:
    from rayfold.recipe import Recipe
    from rayfold.results import Mode
    from rayfold.simulation import Simulation


def simulate(
    recipe: RecipePath,
    table: Annotated[
        Path, typer.Option(help="Scores and running times: CSV, or HDF5 (.h5, .hdf5).")
    ],
    groups: Annotated[
        int | None, typer.Option(min=1, help="Groups; else the recipe's groups.maximum.")
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

    The searcher is the real one; scores and running times come from a table with a row per
    configuration. Neither data nor model are needed.
    """
    from rayfold import schedulers, search
    from rayfold.library import resolve_space
    from rayfold.recipe import DEFAULT_NUM_TRIALS, load_recipe
    from rayfold.simulation import Charges, read_table
    from rayfold.simulation import simulate as run_simulation

    loaded = load_recipe(recipe, overrides or ())
    _check_seconds_per_trial(loaded)
    _check_threshold(threshold)
    _check_max_seconds(max_seconds)
    if output is not None:
        _check_new_file(output)
    mode = _mode(loaded)
    given = {"fold_start": fold_start, "journal_append": journal_append}
    constants = {name: seconds for name, seconds in given.items() if seconds is not None}
    if charge == "none":
        constants = {"fold_start": 0.0, "journal_append": 0.0} | constants
    charges = Charges(searcher=charge == "measured", **constants)
    searcher = search.create(*(loaded.search.searcher_call or ("genetic", {})))
    num_trials = loaded.search.num_trials or searcher.capacity or DEFAULT_NUM_TRIALS
    searcher = searcher.fitted(num_trials)
    space = resolve_space(loaded.search.space or loaded.fixed.model, base=loaded.base)
    searcher.start(space, mode=mode)
    num_folds = loaded.fixed.folds.count * loaded.fixed.folds.repeats
    scheduler = None
    if loaded.search.scheduler_call:
        scheduler = schedulers.create(*loaded.search.scheduler_call)
        scheduler.start(
            mode=mode,
            num_folds=num_folds,
            epochs=loaded.fixed.epochs,
            repeats=loaded.fixed.folds.repeats,
        )
    rows = read_table(table, space, epochs=loaded.fixed.epochs)
    bounds = loaded.resources.groups
    simulation = run_simulation(
        searcher,
        rows,
        num_groups=groups if groups is not None else bounds.maximum,
        num_trials=num_trials,
        num_folds=num_folds,
        groups_per_trial=bounds.per_trial,
        max_seconds=max_seconds if max_seconds is not None else loaded.search.max_time,
        scheduler=scheduler,
        charges=charges,
        random_seed=random_seed,
    )
    if threshold is None:
        threshold = rows.good_score(mode)
    good = {"min": "low", "max": "high"}[mode]
    typer.echo(f"score        {loaded.search.metric}, {good} is good")
    for line in simulation.lines(threshold):
        typer.echo(line)
    if output is not None:
        _write(simulation, output)
        typer.echo(f"written to {output}")


def _check_seconds_per_trial(recipe: "Recipe") -> None:
    """Refuse a limit that ends trials within a fold, of which the table knows nothing."""
    from rayfold.errors import RecipeError

    if recipe.search.max_time_per_trial is not None:
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


def _mode(recipe: "Recipe") -> "Mode":
    """Return whether a small or a large score is good, without reading the data."""
    metric = recipe.search.metric
    if recipe.search.mode is not None:
        return recipe.search.mode
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

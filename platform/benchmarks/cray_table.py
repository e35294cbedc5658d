"""Cray's experiment on the digits at hand: how fast searches reach what random search finds.

A grid of small convolutional networks is trained, every configuration once (half an hour on one
core; the table is kept, and the same command goes on where it was interrupted). The threshold is
what the best 0.1 % of a random search of 1,000 configurations score, that is its best one: the
median of 21 such searches. Then random, genetic, Bayesian and population-based search look for it
on 1 to 64 nodes in simulated time, each with as many runs as the random one had.

``generational`` is the genetic search with a barrier and two individuals per node, a fifth of them
kept, which is what Cray's runs per generation come to; ``genetic`` and ``bayesian`` are our
defaults. ``population:16`` really trains, each member for up to 16 epochs; a run of it is as many
epochs as a run of the table has, and a generation an epoch.

Seconds are those until the first run that reaches the threshold has ended. Measured running times
are stretched to a mean of 150 s, Cray's 13,496 s for 90 runs on one node; what searchers take
themselves is charged as measured. *Speed-up* is over random search on one node, as theirs: their
seconds times their speed-up are the same 85,000 s on every number of nodes. *On as many* is over
random search on as many nodes. *Accuracy* is the best when all has ended that was under way then.
All figures are medians over seeds.

Usage: ``OMP_NUM_THREADS=1 python platform/benchmarks/cray_table.py [SEARCH ...]
--data digits.h5 [--cache cray_table.csv] [--runs runs.jsonl] [--output table.md] [--tiny]``
"""

import argparse
import json
import logging
import math
import shlex
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from digits import FULL, TINY, Digits, Grid, load_digits, tabulate
from simulated_population import train_population

from rayfold.errors import RayfoldError
from rayfold.results import Config
from rayfold.search import Bayesian, Genetic, Random, Searcher
from rayfold.simulation import Charges, Table, simulate

NODES = (1, 2, 4, 8, 16, 32, 64)
SEARCHES = ("random", "generational", "genetic", "bayesian")

CRAY_MEAN_SECONDS = 150.0
"""Seconds of one of their runs: 13,496 of 90 runs on one node."""

CRAY = {
    1: (50, 90, 13496, 6.3),
    2: (34, 101, 11258, 7.5),
    4: (31, 207, 10312, 8.2),
    8: (22, 272, 7860, 10.7),
    16: (16, 443, 5529, 15.3),
    32: (14, 761, 4961, 17.0),
    64: (11, 1187, 3855, 21.9),
}
"""Nodes to generations, runs, seconds and speed-up of their genetic search (CUG 2018)."""

NUM_RANDOM_SEARCHES = 21
NUM_AGAIN = 5
"""How often what reaches the threshold is trained again."""

NUM_LONGER = 64
"""Random configurations that are trained as long as a population, without one."""

LEAST_MEMBERS = 8
"""Members of a population on few nodes; on more there is one for each."""


@dataclass(frozen=True)
class Run:
    """One search with one seed.

    Attributes:
        search: Its name, as on the command line.
        nodes: Nodes that it had.
        seed: Its seed.
        threshold: The score that it was to reach.
        mean_seconds: Mean running time of the table's configurations, as simulated.
        generations: Generations, or epochs of a population's member, by then; None: has none.
        runs: Runs that had ended by then.
        seconds: Simulated seconds by then; None: it was not reached.
        accuracy: Best score when all had ended that was under way then.
    """

    search: str
    nodes: int
    seed: int
    threshold: float
    mean_seconds: float
    generations: int | None
    runs: float
    seconds: float | None
    accuracy: float

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells it from other runs."""
        return self.search, self.nodes, self.seed, self.threshold, self.mean_seconds


def main(given: Sequence[str] | None = None) -> None:
    """Train the table, search it and print the report."""
    words = sys.argv[1:] if given is None else given
    parser, arguments = parse(words)
    logging.getLogger("ray.tune").setLevel(logging.WARNING)  # it tells of every copy
    grid = TINY if arguments.tiny else FULL
    try:
        digits = load_digits(arguments.data, grid)
        limit = arguments.max_minutes
        table = tabulate(grid, digits, arguments.cache, max_minutes=limit)
        longer = {} if table is None else longer_tables(grid, digits, arguments)
    except RayfoldError as error:
        parser.error(str(error))
    if table is None or None in longer.values():
        print("trainings are missing; the same command goes on with them.", file=sys.stderr)
        return
    experiment = Experiment(
        grid=grid,
        digits=digits,
        table=stretched(table, arguments.mean_seconds),
        threshold=median_best(table, arguments.random),
        num_runs=arguments.random,
    )
    command = shlex.join(["python", "platform/benchmarks/cray_table.py", *words])
    lines = [f"`{command}`", "", *table_lines(experiment, table)]
    for epochs, trained in longer.items():
        assert trained is not None
        lines.append(longer_line(experiment, trained, epochs))
    report = "\n".join([*lines, "", *search_lines(experiment, arguments)])
    print(report)
    if arguments.output:
        arguments.output.write_text(report + "\n")


def parse(given: Sequence[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "searches",
        nargs="*",
        metavar="SEARCH",
        help=f"of {', '.join(SEARCHES)}, population:EPOCHS; default: all, and populations with "
        "the epochs of a run and four times as many",
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="HDF5 file with images 'features' and their 'labels'",
    )
    parser.add_argument(
        "--cache", type=Path, default=Path("cray_table.csv"), help="the table of trainings"
    )
    parser.add_argument("--max-minutes", type=float, default=math.inf, help="of training for it")
    parser.add_argument("--nodes", type=int, action="append", metavar="NUMBER")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--bayesian-seeds", type=int, default=10)
    parser.add_argument("--population-seeds", type=int, default=3, help="these really train")
    parser.add_argument("--random", type=int, default=1000, help="runs of a random search")
    parser.add_argument(
        "--mean-seconds",
        type=float,
        default=CRAY_MEAN_SECONDS,
        help="mean simulated running time; 0: as measured",
    )
    parser.add_argument("--runs", type=Path, help="keep searches in this file; none is run twice")
    parser.add_argument("--output", type=Path, help="write the report to this file, too")
    parser.add_argument("--tiny", action="store_true", help="a table of 12 trainings, in seconds")
    arguments = parser.parse_args(given)
    if not arguments.data.exists():
        parser.error(
            f"there are no digits at {arguments.data}; give an HDF5 file with images 'features' "
            "of shape (rows, height, width) and their 'labels' as --data."
        )
    epochs = (TINY if arguments.tiny else FULL).epochs
    populations = [f"population:{epochs}", f"population:{4 * epochs}"]
    arguments.searches = arguments.searches or [*SEARCHES, *populations]
    arguments.searches.sort(key=lambda name: name != "random")  # what others are compared with
    arguments.nodes = arguments.nodes or list(NODES)
    for name in arguments.searches:
        if name not in SEARCHES and num_epochs(name) < 2:
            parser.error(
                f"{name!r} is no search; choose from {', '.join(SEARCHES)}, {populations[1]}."
            )
    return parser, arguments


def num_epochs(name: str) -> int:
    """Return the epochs of ``population:16``; 0 for other searches."""
    kind, _, epochs = name.partition(":")
    return int(epochs) if kind == "population" and epochs.isdecimal() else 0


def longer_tables(
    grid: Grid, digits: Digits, arguments: argparse.Namespace
) -> dict[int, Table | None]:
    """Train some random configurations for as many epochs as the longer populations, by these."""
    return {
        epochs: tabulate(
            replace(grid, epochs=epochs),
            digits,
            arguments.cache.with_suffix(f".{epochs}_epochs.csv"),
            max_minutes=arguments.max_minutes,
            num_configs=NUM_LONGER,
        )
        for epochs in map(num_epochs, arguments.searches)
        if epochs > grid.epochs
    }


def median_best(table: Table, num_configs: int) -> float:
    """Return the best score of so many random configurations, the median of 21 searches."""
    bests = []
    for seed in range(NUM_RANDOM_SEARCHES):
        generator = np.random.default_rng(seed)
        configs = [table.space.sample(generator) for _ in range(num_configs)]
        bests.append(float(np.nanmax(table.means[[table.find(one).row for one in configs]])))
    return statistics.median(bests)


def stretched(table: Table, mean_seconds: float) -> Table:
    """Return the table with running times of this mean; 0: as they are."""
    factor = mean_seconds / table.seconds.mean() if mean_seconds else 1.0
    return Table(table.space, table.configs, table.scores, factor * table.seconds)


# The searches


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What all searches share.

    Attributes:
        grid: The configurations, and how long each was trained.
        digits: What they were trained on.
        table: Their scores and simulated running times.
        threshold: The score to be reached.
        num_runs: Runs that a search has at most; the random one goes on until it is done.
    """

    grid: Grid
    digits: Digits
    table: Table
    threshold: float
    num_runs: int

    def run(self, name: str, *, nodes: int, seed: int) -> Run:
        """Search until the threshold is reached."""
        if epochs := num_epochs(name):
            return self._train_population(name, epochs, nodes, seed)
        return self._search_table(name, nodes, seed)

    def key(self, name: str, *, nodes: int, seed: int) -> tuple[Any, ...]:
        """Return the key that the run will have."""
        return name, nodes, seed, self.threshold, self._mean_seconds

    def _found(self, name: str, nodes: int, seed: int, **found: Any) -> Run:
        return Run(*self.key(name, nodes=nodes, seed=seed), **found)

    @property
    def _mean_seconds(self) -> float:
        return round(float(self.table.seconds.mean()), 6)

    def _search_table(self, name: str, nodes: int, seed: int) -> Run:
        searcher = make_searcher(name, nodes=nodes, num_runs=self.num_runs, seed=seed)
        searcher.start(self.table.space, mode="max")
        simulation = simulate(
            Until(searcher, self.threshold),
            self.table,
            num_groups=nodes,
            num_trials=100 * self.num_runs if name == "random" else self.num_runs,
            random_seed=seed,
        )
        best = simulation.best
        assert best is not None
        assert best.score is not None
        number, trial = simulation.first_to(self.threshold) or (len(simulation.trials), None)
        generations = None
        if isinstance(searcher, Genetic):
            generations = generation(searcher, int(trial.id) if trial else number - 1)
        return self._found(
            name,
            nodes,
            seed,
            generations=generations,
            runs=number,
            seconds=trial.finished_at if trial else None,
            accuracy=best.score,
        )

    def _train_population(self, name: str, epochs: int, nodes: int, seed: int) -> Run:
        population = train_population(
            self.digits,
            self.table.space,
            num_nodes=nodes,
            num_members=max(LEAST_MEMBERS, nodes),
            epochs=epochs,
            threshold=self.threshold,
            step_seconds=self._epoch_seconds,
            random_seed=seed,
        )
        return self._found(
            name,
            nodes,
            seed,
            generations=population.epoch,
            runs=population.num_epochs / self.grid.epochs,
            seconds=population.seconds,
            accuracy=population.accuracy,
        )

    def _epoch_seconds(self, config: Config) -> float:
        """Return what an epoch takes according to the table, and giving it to a node."""
        row = self.table.find(config).row
        seconds: float = self.table.seconds[row].mean()
        return Charges().fold_start + seconds / self.grid.epochs


class Until:
    """A searcher that has no more to suggest once a score was told that reaches a threshold."""

    def __init__(self, searcher: Searcher, threshold: float) -> None:
        self._searcher, self._threshold, self._reached = searcher, threshold, False
        self.space, self.mode, self.capacity = searcher.space, searcher.mode, searcher.capacity

    @property
    def finished(self) -> bool:
        """Whether nothing more will be suggested."""
        return self._reached or self._searcher.finished

    def suggest(self) -> Any:
        """Suggest as the searcher does."""
        return self._searcher.suggest()

    def observe(self, id: str, *, score: float | None, **outcome: Any) -> None:
        """Tell the searcher."""
        self._reached |= score is not None and score >= self._threshold
        self._searcher.observe(id, score=score, **outcome)


def make_searcher(name: str, *, nodes: int, num_runs: int, seed: int) -> Searcher:
    """Return a searcher of ``SEARCHES``; genetic ones are made for ``num_runs`` or some more."""
    if name == "random":
        return Random(random_seed=seed)
    if name == "bayesian":
        return Bayesian(random_seed=seed)
    arguments: dict[str, Any] = {"random_seed": seed, "population": 16}
    if name == "generational":
        arguments |= {"update": "generational", "population": 2 * nodes}
    first, second = (Genetic(generations=count, **arguments).capacity or 0 for count in (1, 2))
    further = max(0, math.ceil((num_runs - first) / (second - first)))
    return Genetic(generations=1 + further, **arguments)


def generation(searcher: Genetic, number: int) -> int:
    """Return the generation, counted from 1, of the suggestion with this number, from 0."""
    size = searcher.settings()["genetic"]["population"]
    return 1 if number < size else 2 + (number - size) // (size - searcher.num_elites)


# The report


def table_lines(experiment: Experiment, table: Table) -> Iterator[str]:
    """Yield what the table holds as it was measured, and how sure the threshold is."""
    grid, threshold = experiment.grid, experiment.threshold
    good = np.flatnonzero(table.means >= threshold).tolist()
    known = table.means[np.isfinite(table.means)]
    yield (
        f"* Table: {len(table):,} configurations, {grid.num_training_rows:,} rows, {grid.epochs} "
        f"epochs, {table.seconds.mean():.3f} s on average; {len(table) - len(known)} diverged. "
        f"Accuracy: median {np.median(known):.2%}, best {known.max():.2%}."
    )
    yield (
        f"* Threshold: {threshold:.2%}, the best of {experiment.num_runs:,} random "
        f"configurations; {len(good)} of the table ({len(good) / len(table):.2%}) reach it."
    )
    scores = [
        experiment.digits.accuracy(
            table.configs[row], trial=f"{row} again {number}", epochs=grid.epochs
        )
        for row in good
        for number in range(NUM_AGAIN)
    ]
    again = np.array([score or 0.0 for score in scores])  # what diverged is worth nothing
    yield (
        f"* These again, {NUM_AGAIN} times each with other seeds: {again.min():.2%} to "
        f"{again.max():.2%}, median {np.median(again):.2%}; {(again >= threshold).sum()} of "
        f"{len(again)} trainings reach the threshold."
    )


def longer_line(experiment: Experiment, longer: Table, epochs: int) -> str:
    """Say what comes of training for longer alone."""
    reached = int((longer.means >= experiment.threshold).sum())
    line = (
        f"* For {epochs} epochs: {reached} of {len(longer)} random configurations reach it at "
        "their end"
    )
    if not reached:
        return f"{line}."
    rows = [experiment.table.find(config).row for config in longer.configs]
    seconds = experiment.table.seconds[rows].sum() * epochs / experiment.grid.epochs
    return f"{line}, one in {seconds / reached:,.0f} s of training."


def search_lines(experiment: Experiment, arguments: argparse.Namespace) -> Iterator[str]:
    """Yield a table for each search; searches are run on the way."""
    done = read_runs(arguments.runs)
    random: dict[int, float] = {}
    for name in arguments.searches:
        kind, _, _ = name.partition(":")
        seeds = getattr(arguments, f"{kind}_seeds", arguments.seeds)
        header = RANDOM_HEADER if name == "random" else HEADER
        yield from [f"## {name.capitalize()}", "", header, "|---" * (header.count("|") - 1) + "|"]
        for nodes in arguments.nodes:
            runs = []
            for seed in range(seeds):
                run = done.get(experiment.key(name, nodes=nodes, seed=seed))
                if run is None:
                    run = experiment.run(name, nodes=nodes, seed=seed)
                    keep_run(run, arguments.runs)
                runs.append(run)
            if name == "random":
                random[nodes] = median_seconds(runs)
                yield random_row(nodes, runs, random)
            else:
                yield row(nodes, runs, random)
        yield ""


def keep_run(run: Run, path: Path | None) -> None:
    print(run, file=sys.stderr)
    if path:
        with path.open("a") as file:
            file.write(json.dumps(asdict(run)) + "\n")


def read_runs(path: Path | None) -> dict[Any, Run]:
    """Return what a file of runs holds, by key."""
    if path is None or not path.exists():
        return {}
    runs = [Run(**json.loads(line)) for line in path.read_text().splitlines()]
    return {run.key: run for run in runs}


RANDOM_HEADER = "| nodes | runs | seconds | speed-up | accuracy |"
HEADER = (
    "| nodes | generations | theirs | runs | theirs | seconds | theirs | speed-up | theirs "
    "| on as many | accuracy | reached |"
)


def random_row(nodes: int, runs: list[Run], random: dict[int, float]) -> str:
    """Return a line about random search, ``random`` being its seconds by nodes."""
    seconds = median_seconds(runs)
    return (
        f"| {nodes} | {statistics.median(run.runs for run in runs):,.0f} | {seconds:,.0f} "
        f"| {speed_up(random.get(1), seconds)} "
        f"| {statistics.median(run.accuracy for run in runs):.2%} |"
    )


def row(nodes: int, runs: list[Run], random: dict[int, float]) -> str:
    """Return a line of a search: medians, Cray's figures beside them."""
    seconds = median_seconds(runs)
    reached = sum(run.seconds is not None for run in runs)
    generations = [run.generations for run in runs if run.generations is not None]
    theirs = [f"{figure:,}" for figure in CRAY[nodes]] if nodes in CRAY else ["-"] * 4
    cells = [
        f"{statistics.median(generations):.0f}" if generations else "-",
        theirs[0],
        f"{statistics.median(run.runs for run in runs):,.0f}",
        theirs[1],
        f"{seconds:,.0f}" if math.isfinite(seconds) else "-",
        theirs[2],
        speed_up(random.get(1), seconds),
        theirs[3],
        speed_up(random.get(nodes), seconds),
        f"{statistics.median(run.accuracy for run in runs):.2%}",
        f"{reached} of {len(runs)}",
    ]
    return f"| {nodes} | " + " | ".join(cells) + " |"


def median_seconds(runs: list[Run]) -> float:
    """Return the upper median of the times; a search that did not reach it has taken for ever."""
    return statistics.median_high(math.inf if run.seconds is None else run.seconds for run in runs)


def speed_up(before: float | None, seconds: float) -> str:
    return f"{before / seconds:.1f}" if before and math.isfinite(seconds) else "-"


if __name__ == "__main__":
    main()

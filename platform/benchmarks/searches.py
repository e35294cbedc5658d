"""How good searchers are, ours and others', on tables of real trainings.

Every evaluation draws one of the seeds that a table holds for its configuration. A searcher is
judged by the configuration that it would return, the best one seen so far: by the regret of that
configuration's mean over all seeds, normalised so that the table's optimum has 0 and its median
configuration 1. *Own time* is that of ``suggest`` and ``observe``, for other tools with the pipe
to their process.

``--table mixint`` searches the 24 functions of bbob-mixint instead, without noise.

In turn (the default): one trial after another, regret after 10, 25, 50, 100 and 400 of them.
``--workers 64``: asynchronously on so many groups, with the tables' running times, own time and
the study's costs on the clock of ``rayfold.simulation``, for 20 rounds of the table's mean time;
regret over time, utilisation, and seconds until a configuration was tried that is among the best
0.1 % of the table, which is what 1,000 draws of random search come to.

Searchers are ``random``, ``genetic`` and ``bayesian`` with their defaults, variants such as
``genetic:population=20:generations=25``, and the peers ``skopt-gp``, ``skopt-et``,
``optuna-tpe``, ``optuna-gp`` and ``deephyper-cbo``, each installed on first use in a virtual
environment of its own; ``optuna-gp@100`` ends after 100 trials in turn. Set ``OMP_NUM_THREADS=1``
to compare times.

Usage: ``python platform/benchmarks/searches.py [SEARCHER ...] [--table segment ...]
[--seeds 20] [--workers 64] [--output searches.md] [--runs runs.jsonl]``
"""

import argparse
import contextlib
import itertools
import json
import math
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mixed_integer import MIXED_INTEGER, FunctionProblem, load_function
from peers import PEERS, Peer, PeerError
from scipy import stats
from tabular import NAMES, Problem, load_problem

from rayfold.documents import read_yaml
from rayfold.errors import RecipeError
from rayfold.search import SEARCHERS, Searcher
from rayfold.simulation import simulate

TABLES = ("naval_propulsion", "protein_structure", "segment", "vehicle")
BUDGETS = (10, 25, 50, 100, 400)
ROUNDS = 20
MAX_SECTIONS = 8
"""With more tables than these, only their mean is printed."""

TIMES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
"""Shares of the simulated time at which regret is reported."""


@dataclass(frozen=True)
class Run:
    """One search of one table with one seed.

    Attributes:
        searcher: Name, as on the command line.
        table: Name of the table.
        seed: Seed of the searcher and of the evaluations.
        workers: Groups of the simulation; 0: one trial after another.
        length: Trials that were planned, or rounds with workers.
        trials: Trials that came to their end.
        whole: Whether the search came to its end, before the cap on own time.
        own_seconds: Time of ``suggest`` and ``observe``.
        regrets: Regret at each of ``BUDGETS`` or ``TIMES``; None where the run did not come to.
        own_at: Own time up to each of ``BUDGETS``.
        utilisation: Busy share of the groups' time.
        seconds_to_good: Simulated seconds to one of the best 0.1 %; None: never.
    """

    searcher: str
    table: str
    seed: int
    workers: int
    length: int
    trials: int
    whole: bool
    own_seconds: float
    regrets: list[float | None]
    own_at: list[float | None] = field(default_factory=list)
    utilisation: float | None = None
    seconds_to_good: float | None = None

    @property
    def key(self) -> tuple[str, str, int, int, int]:
        """What tells it from other runs."""
        return self.searcher, self.table, self.seed, self.workers, self.length


def main() -> None:
    """Run what is asked for and print the tables."""
    arguments = parse()
    command = shlex.join(["python", "platform/benchmarks/searches.py", *sys.argv[1:]])
    done = read_runs(arguments.runs)
    failures: list[str] = []
    runs: list[Run] = []
    for table in arguments.table:
        for searcher in arguments.searchers:
            try:
                runs += run_all(searcher, table, arguments, done)
            except PeerError as error:
                failures.append(f"{searcher} on {table}: {error}")
    report = "\n".join([f"`{command}`", "", *report_lines(runs, arguments, failures)])
    print(report)
    if arguments.output:
        arguments.output.write_text(report + "\n")


def parse() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "searchers",
        nargs="*",
        metavar="SEARCHER",
        help=f"of {', '.join([*SEARCHERS.names, *PEERS])}, ours with :argument=value; else all",
    )
    parser.add_argument(
        "--table",
        action="append",
        choices=[*NAMES, *MIXED_INTEGER, "mixint"],
        metavar="NAME",
        help="a table, a function such as mixint-01, or mixint for all 24 functions",
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=BUDGETS[-1], help="in turn, per search")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument(
        "--max-seconds",
        type=float,
        default=3600.0,
        help="own time of a searcher on a table, evenly over its seeds",
    )
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/rayfold-benchmarks")
    parser.add_argument("--output", type=Path, help="write the report to this file, too")
    parser.add_argument("--runs", type=Path, help="keep runs in this file; none is run twice")
    arguments = parser.parse_args()
    given = [name.partition("@") for name in arguments.searchers or [*SEARCHERS.names, *PEERS]]
    arguments.searchers = [name for name, *_ in given]
    arguments.limits = {name: int(limit) for name, _, limit in given if limit}
    arguments.table = [
        name
        for given in arguments.table or TABLES
        for name in (MIXED_INTEGER if given == "mixint" else [given])
    ]
    if arguments.workers and not set(arguments.table) <= set(NAMES):
        parser.error("--workers needs tables, since functions have no running times.")
    for name in arguments.searchers:
        if name not in PEERS:
            try:
                SEARCHERS.create(*own_call(name, random_seed=0))
            except RecipeError as error:
                parser.error(str(error))
    return arguments


def own_call(name: str, *, random_seed: int) -> tuple[str, dict[str, Any]]:
    """Return name and arguments of ``genetic:population=32``."""
    kind, *given = name.split(":")
    pairs = [entry.partition("=") for entry in given]
    arguments = {key: read_yaml(value, source=name) for key, _, value in pairs}
    return kind, {"random_seed": random_seed} | arguments


@contextlib.contextmanager
def started(
    name: str, problem: Problem | FunctionProblem, seed: int, cache: Path
) -> Iterator[Searcher]:
    """Start a searcher on a table, and end its process if it has one."""
    if name not in PEERS:
        searcher = SEARCHERS.create(*own_call(name, random_seed=seed))
        searcher.start(problem.space, mode=problem.mode)
        yield searcher
        return
    peer = Peer(name, cache=cache, random_seed=seed)
    try:
        peer.start(problem.space, mode=problem.mode)
        yield peer
    finally:
        peer.close()


def run_all(
    name: str, table: str, arguments: argparse.Namespace, done: dict[Any, Run]
) -> Iterator[Run]:
    """Yield the runs of all seeds; each has its share of the own time that is left."""
    left = arguments.max_seconds
    for seed in range(arguments.seeds):
        trials = min(arguments.trials, arguments.limits.get(name, arguments.trials))
        length = ROUNDS if arguments.workers else trials
        run = done.get((name, table, seed, arguments.workers, length))
        if run is None:
            share = max(0.0, left) / (arguments.seeds - seed)
            problem = load(table, seed)
            with started(name, problem, seed, arguments.cache) as searcher:
                if isinstance(problem, Problem) and arguments.workers:
                    run = run_at_once(name, searcher, problem, seed, arguments.workers, share)
                else:
                    run = run_in_turn(name, searcher, problem, seed, trials, share)
            if arguments.runs:
                with arguments.runs.open("a") as file:
                    file.write(json.dumps(asdict(run)) + "\n")
            print(
                f"{table} {name} seed {seed}: {run.trials} trials, regret "
                f"{show(last(run.regrets))}, own time {run.own_seconds:.1f} s",
                file=sys.stderr,
            )
        left -= run.own_seconds
        yield run


def load(name: str, seed: int) -> Problem | FunctionProblem:
    """Return a table, or the instance of a function that a seed searches."""
    return load_function(name, seed) if name in MIXED_INTEGER else load_problem(name)


def run_in_turn(
    name: str,
    searcher: Searcher,
    problem: Problem | FunctionProblem,
    seed: int,
    trials: int,
    max_seconds: float,
) -> Run:
    """Run one trial after another until ``max_seconds`` of own time are over."""
    generator, best, own = np.random.default_rng([seed, 1]), Best(problem), 0.0
    regrets: list[float] = []
    spent: list[float] = []
    while len(regrets) < trials and own < max_seconds:
        began = time.perf_counter()
        suggestion = searcher.suggest()
        own += time.perf_counter() - began
        if suggestion is None:  # it has no more: what it has found stays
            break
        score, regret = problem.evaluate(suggestion.config, generator)
        began = time.perf_counter()
        searcher.observe(suggestion.id, score=score)
        own += time.perf_counter() - began
        best.see(score, regret)
        regrets.append(best.regret)
        spent.append(own)
    ended = searcher.finished or len(regrets) >= trials
    return Run(
        searcher=name,
        table=problem.name,
        seed=seed,
        workers=0,
        length=trials,
        trials=len(regrets),
        whole=ended,
        own_seconds=own,
        regrets=at_budgets(regrets, ended=ended, trials=trials),
        own_at=at_budgets(spent, ended=ended, trials=trials),
    )


def at_budgets(values: list[float], *, ended: bool, trials: int) -> list[float | None]:
    """Return the values after each budget; a search that has ended keeps its last one."""
    reached: list[float | None] = []
    for budget in BUDGETS:
        if len(values) >= budget:
            reached.append(values[budget - 1])
        else:
            reached.append(values[-1] if ended and values and budget <= trials else None)
    return reached


def run_at_once(
    name: str, searcher: Searcher, problem: Problem, seed: int, workers: int, max_seconds: float
) -> Run:
    """Run on many groups in simulated time."""
    seconds = ROUNDS * problem.mean_seconds
    capped = Capped(searcher, max_seconds)
    simulation = simulate(
        capped,
        problem.table,
        num_groups=workers,
        waiting_trials=0,
        max_seconds=seconds,
        random_seed=seed,
    )
    best, seconds_to_good = Best(problem), None
    curve: list[tuple[float, float]] = []
    for trial in simulation.trials:
        assert trial.score is not None
        best.see(trial.score, float(problem.regrets[trial.row]))
        curve.append((trial.finished_at, best.regret))
        if seconds_to_good is None and problem.regrets[trial.row] <= problem.good_regret:
            seconds_to_good = trial.finished_at
    until = seconds if not capped.spent else simulation.last_start
    return Run(
        searcher=name,
        table=problem.name,
        seed=seed,
        workers=workers,
        length=ROUNDS,
        trials=len(curve),
        whole=not capped.spent,
        own_seconds=simulation.searcher_seconds,
        regrets=[
            last([regret for at, regret in curve if at <= share * seconds])
            if share * seconds <= until
            else None
            for share in TIMES
        ],
        utilisation=simulation.utilisation_until_last_start,
        seconds_to_good=seconds_to_good,
    )


class Best:
    """The configuration that a search would return: the one with the best score seen."""

    def __init__(self, problem: Problem | FunctionProblem) -> None:
        self._sign = 1.0 if problem.mode == "min" else -1.0
        self._loss, self.regret = math.inf, math.nan

    def see(self, score: float, regret: float) -> None:
        """Take in an evaluation."""
        if self._sign * score < self._loss:
            self._loss, self.regret = self._sign * score, regret


class Capped:
    """A searcher that has no more to suggest once it has spent its own time."""

    def __init__(self, searcher: Searcher, max_seconds: float) -> None:
        self._searcher, self._left = searcher, max_seconds
        self.space, self.mode, self.capacity = searcher.space, searcher.mode, searcher.capacity

    @property
    def spent(self) -> bool:
        """Whether it has."""
        return self._left <= 0

    @property
    def finished(self) -> bool:
        """Whether nothing more will be suggested."""
        return self.spent or self._searcher.finished

    def suggest(self) -> Any:
        """Suggest as the searcher does."""
        with self._timed():
            return self._searcher.suggest()

    def observe(self, id: str, **outcome: Any) -> None:
        """Tell the searcher."""
        with self._timed():
            self._searcher.observe(id, **outcome)

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._left -= time.perf_counter() - began


def read_runs(path: Path | None) -> dict[Any, Run]:
    """Return what a file of runs holds, by key."""
    if path is None or not path.exists():
        return {}
    runs = [Run(**json.loads(line)) for line in path.read_text().splitlines()]
    return {run.key: run for run in runs}


# The report


def report_lines(
    runs: list[Run], arguments: argparse.Namespace, failures: list[str]
) -> Iterator[str]:
    """Yield the report in Markdown."""
    for table in arguments.table if len(arguments.table) <= MAX_SECTIONS else ():
        yield from [f"## {table}", ""]
        yield from table_lines([run for run in runs if run.table == table], arguments)
    if len(arguments.table) > 1:
        yield from ["## Mean over the tables", ""]
        yield from table_lines(runs, arguments)
    yield from rank_lines(runs, arguments)
    missing = [
        *failures,
        *(
            f"{run.searcher} on {run.table}, seed {run.seed}: cut off after {run.trials} trials, "
            f"{run.own_seconds:.0f} s of own time"
            for run in runs
            if not run.whole
        ),
    ]
    if missing:
        yield from ["## Not run", "", *(f"* {line}" for line in missing), ""]


def table_lines(runs: list[Run], arguments: argparse.Namespace) -> Iterator[str]:
    """Yield mean and standard error of regret, and times.

    A figure of fewer searches than were asked for says of how many.
    """
    if arguments.workers:
        columns = [f"regret after {share:g} of the time" for share in TIMES]
        columns += ["trials", "busy", "s to best 0.1 % (median)", "own s per 100 trials"]
    else:
        columns = [f"regret at {budget}" for budget in BUDGETS]
        columns += ["own s to 100 trials", "own s in all"]
    yield "| searcher | " + " | ".join(columns) + " |"
    yield "|---|" + "---|" * len(columns)
    tables = len({run.table for run in runs})
    for name in arguments.searchers:
        own = [run for run in runs if run.searcher == name]
        count = len(TIMES if arguments.workers else BUDGETS)
        cells = [mean_cell(own, index, arguments.seeds, tables) for index in range(count)]
        cells += speed_cells(own, bool(arguments.workers)) if own else []
        yield f"| {name} | " + " | ".join(cells) + " |"
    yield ""


def mean_cell(runs: list[Run], index: int, seeds: int, tables: int) -> str:
    """Return mean and standard error over seeds, of each seed's mean over the tables."""
    by_seed: dict[int, list[float]] = {}
    for run in runs:
        regret = run.regrets[index]
        if regret is not None:
            by_seed.setdefault(run.seed, []).append(regret)
    means = [np.mean(regrets) for regrets in by_seed.values() if len(regrets) == tables]
    if not means:
        return "-"
    error = np.std(means, ddof=1) / math.sqrt(len(means)) if len(means) > 1 else 0.0
    few = f" (of {len(means)} seeds)" if len(means) < seeds else ""
    return f"{np.mean(means):.4f} ± {error:.4f}{few}"


def speed_cells(runs: list[Run], at_once: bool) -> list[str]:
    if not at_once:
        to_100 = [run.own_at[BUDGETS.index(100)] for run in runs]
        known = [seconds for seconds in to_100 if seconds is not None]
        in_all = np.mean([run.own_seconds for run in runs])
        return [f"{np.mean(known):.2f}" if known else "-", f"{in_all:.1f}"]
    reached = [math.inf if run.seconds_to_good is None else run.seconds_to_good for run in runs]
    trials = sum(run.trials for run in runs)
    own = sum(run.own_seconds for run in runs)
    return [
        f"{trials / len(runs):.0f}",
        f"{np.mean([run.utilisation for run in runs]):.3f}",
        f"{seconds_cell(reached)} (in {np.isfinite(reached).sum()} of {len(runs)})",
        f"{100 * own / max(1, trials):.3f}",
    ]


def seconds_cell(seconds: list[float]) -> str:
    """Return the median of times of which some may be infinite."""
    median = np.quantile(seconds, 0.5, method="higher")
    return f"{median:.0f}" if math.isfinite(median) else "-"


def rank_lines(runs: list[Run], arguments: argparse.Namespace) -> Iterator[str]:
    """Yield mean ranks at the last three budgets, of the searchers that came to most cases.

    A case is a table with a seed. Searches of one case are pairs; pairs of searchers are told
    apart by the Wilcoxon signed-rank test, with Holm's correction for all of them.
    """
    labels = [f"{share:g} of the time" for share in TIMES]
    if not arguments.workers:
        labels = [f"{budget} trials" for budget in BUDGETS]
    cases = {(run.table, run.seed) for run in runs}
    for index in range(len(labels) - 3, len(labels)):
        reached: dict[str, dict[tuple[str, int], float]] = {}
        for run in runs:
            regret = run.regrets[index]
            if regret is not None:
                reached.setdefault(run.searcher, {})[run.table, run.seed] = regret
        names = [name for name, found in reached.items() if 2 * len(found) > len(cases)]
        common = [case for case in sorted(cases) if all(case in reached[name] for name in names)]
        if len(names) < 2 or len(common) < 2:
            continue
        regrets = np.array([[reached[name][case] for name in names] for case in common])
        ranks = stats.rankdata(regrets, axis=1).mean(axis=0)
        better = better_pairs(regrets)
        yield from [f"## Ranks after {labels[index]}", ""]
        yield f"Over {len(common)} pairs of table and seed. Better: at 5 %, Wilcoxon and Holm."
        yield from ["", "| searcher | mean rank | better than |", "|---|---|---|"]
        for place in np.argsort(ranks, kind="stable"):
            beaten = ", ".join(names[other] for one, other in better if one == place)
            yield f"| {names[place]} | {ranks[place]:.2f} | {beaten} |"
        yield ""


def better_pairs(regrets: np.ndarray[Any, Any], level: float = 0.05) -> list[tuple[int, int]]:
    """Return the pairs of columns of which the first is lower, at a level over all pairs."""
    tests = []
    for one, other in itertools.combinations(range(regrets.shape[1]), 2):
        difference = regrets[:, one] - regrets[:, other]
        p = 1.0
        if difference.any():
            p = float(stats.wilcoxon(difference, zero_method="zsplit").pvalue)
        ranks = stats.rankdata(np.abs(difference))
        tests.append((p, (one, other) if (np.sign(difference) @ ranks) < 0 else (other, one)))
    found = []
    for position, (p, pair) in enumerate(sorted(tests)):
        if p > level / (len(tests) - position):
            break
        found.append(pair)
    return found


def last(values: list[Any]) -> Any:
    """Return the last value that there is."""
    return next((value for value in reversed(values) if value is not None), None)


def show(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


if __name__ == "__main__":
    main()

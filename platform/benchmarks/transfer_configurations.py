"""What a search gains from past studies, and what a misleading past costs.

HPOBench-MLP tables are searched; the past studies are genetic searches (the default, 107 trials)
of other tables of the same family, drawn anew for every seed. Every evaluation draws one of a
configuration's seeds; a search is judged by the mean regret over all seeds of the configuration
with the best score so far, 0 for a table's optimum and 1 for its median configuration.

Pasts are ``none``; ``related`` and ``one related``: three studies of other tables, and one;
``reversed``: a study of the same table that takes its scores for their opposite, which is as
misleading as a past can be; ``reversed related``: one of another table, reversed; ``one of each``:
a related study beside a reversed one; ``shuffled``: three with their scores dealt out at random.

*Trials to the level* counts how many trials it takes until the mean regret first is at or
below what the same searcher reaches with no past in 40 trials: of a mean over tables and seeds,
since a single search of a noisy table reaches a level by luck. *Cost* is how many trials more than
40 that is. *At 42 less cold at 40* is the paired difference in regret of a search that was given
5 % more trials; a past costs no more than these where it is not clearly above 0.

Usage: ``OMP_NUM_THREADS=1 python platform/benchmarks/transfer_configurations.py
[SEARCHER ...] [--table segment ...] [--past related ...] [--seeds 10]``
"""

import argparse
import shlex
import sys
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from searches import Best, own_call
from tabular import load_problem

from rayfold.results import Mode
from rayfold.search import SEARCHERS, Genetic, Past, PastStudy

TABLES = (
    "australian",
    "blood_transfusion",
    "car",
    "credit_g",
    "kc1",
    "phoneme",
    "segment",
    "vehicle",
)
"""All of HPOBench-MLP: one grid of 30,000 configurations."""

SEARCHED = ("segment", "vehicle", "phoneme", "australian")

PASTS = (
    "none",
    "related",
    "one related",
    "reversed",
    "reversed related",
    "one of each",
    "shuffled",
)

LEVEL_AT = 40
"""Trials of the cold search whose regret is the level to reach."""

ALLOWED = 2
"""Trials that a misleading past may cost: 5 % of them."""

NUM_TRIALS = 60
SHOWN = (5, 10, 15, 20, 30, 40)
OPPOSITE: dict[Mode, Mode] = {"min": "max", "max": "min"}

Curves = NDArray[np.float64]
"""Regret after each trial, shape ``(tables * seeds, NUM_TRIALS)``."""


def main() -> None:
    """Run what is asked for and print the tables."""
    arguments = parse()
    print(f"`{shlex.join(['python', 'platform/benchmarks/transfer_configurations.py'])}", end="")
    print(f"{' ' * bool(sys.argv[1:])}{shlex.join(sys.argv[1:])}`\n")
    for searcher in arguments.searchers:
        curves: dict[str, Curves] = {}
        own: dict[str, float] = {}
        for past in arguments.past:
            runs = [
                run(searcher, table, past, seed)
                for table in arguments.table
                for seed in range(arguments.seeds)
            ]
            curves[past] = np.array([curve for curve, _ in runs])
            own[past] = float(np.mean([seconds for _, seconds in runs]))
            print(f"{searcher}, {past}: done", file=sys.stderr)
        print("\n".join(report_lines(searcher, curves, own, num_seeds=arguments.seeds)))


def parse() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("searchers", nargs="*", metavar="SEARCHER")
    parser.add_argument("--table", action="append", choices=TABLES)
    parser.add_argument("--past", action="append", choices=PASTS)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    arguments.searchers = arguments.searchers or ["random", "genetic", "bayesian"]
    arguments.table = arguments.table or SEARCHED
    arguments.past = list(dict.fromkeys(["none", *(arguments.past or PASTS)]))
    return arguments


def run(name: str, table: str, past: str, seed: int) -> tuple[list[float], float]:
    """Return the regret after each trial, and the searcher's own seconds."""
    problem = load_problem(table)
    generator, best = np.random.default_rng([seed, 1]), Best(problem)
    searcher = SEARCHERS.create(*own_call(name, random_seed=seed))
    given = make_past(past, table, seed)
    began = time.process_time()
    searcher.start(problem.space, mode=problem.mode, past=given)
    regrets: list[float] = []
    while len(regrets) < NUM_TRIALS and (suggestion := searcher.suggest()) is not None:
        score, regret = problem.evaluate(suggestion.config, generator)
        searcher.observe(suggestion.id, score=score)
        best.see(score, regret)
        regrets.append(best.regret)
    regrets += regrets[-1:] * (NUM_TRIALS - len(regrets))  # one that has ended keeps its best
    return regrets, time.process_time() - began


def make_past(kind: str, table: str, seed: int) -> Past | None:
    """Return the past of a search of ``table``."""
    generator = np.random.default_rng([seed, TABLES.index(table)])
    others = generator.permutation([name for name in TABLES if name != table])
    related = [past_study(str(name), seed) for name in others[:3]]
    studies: dict[str, list[PastStudy]] = {
        "none": [],
        "related": related,
        "one related": related[:1],
        "reversed": [reversed_study(past_study(table, seed))],
        "reversed related": [reversed_study(related[0])],
        "one of each": [reversed_study(related[0]), related[1]],
        "shuffled": [shuffled_study(study, generator) for study in related],
    }
    return Past(tuple(studies[kind])) if kind != "none" else None


@cache
def past_study(table: str, seed: int) -> PastStudy:
    """Return an earlier genetic search of a table."""
    problem = load_problem(table)
    generator = np.random.default_rng([seed, 2])
    searcher = Genetic(random_seed=1000 + seed)
    searcher.start(problem.space, mode=problem.mode)
    trials: list[tuple[Any, float]] = []
    while (suggestion := searcher.suggest()) is not None:
        score, _ = problem.evaluate(suggestion.config, generator)
        searcher.observe(suggestion.id, score=score)
        trials.append((suggestion.config, score))
    configs, scores = zip(*trials, strict=True)
    return PastStudy(name=table, mode=problem.mode, configs=configs, scores=scores)


def reversed_study(study: PastStudy) -> PastStudy:
    return PastStudy(
        name=f"reversed {study.name}",
        mode=OPPOSITE[study.mode],
        configs=study.configs,
        scores=study.scores,
    )


def shuffled_study(study: PastStudy, generator: np.random.Generator) -> PastStudy:
    scores = tuple(float(score) for score in generator.permutation(study.scores))
    return PastStudy(name=study.name, mode=study.mode, configs=study.configs, scores=scores)


# The report


def report_lines(
    searcher: str, curves: dict[str, Curves], own: dict[str, float], *, num_seeds: int
) -> Iterator[str]:
    """Yield the report in Markdown; ± is the standard error over seeds."""
    level = float(curves["none"][:, LEVEL_AT - 1].mean())
    yield f"### {searcher}: none reaches a mean regret of {level:.3f} in {LEVEL_AT} trials"
    columns = [f"regret at {number}" for number in SHOWN]
    columns += ["median at 10, at 40", "trials to the level", "cost"]
    columns += [f"at {LEVEL_AT + ALLOWED} less cold at {LEVEL_AT}", "own s"]
    yield from ["", "| past | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for past, all_runs in curves.items():
        cells = [mean_cell(all_runs[:, number - 1], num_seeds) for number in SHOWN]
        medians = np.median(all_runs[:, [9, 39]], axis=0)
        cells.append(f"{medians[0]:.3f}, {medians[1]:.3f}")
        needed = trials_to(all_runs.mean(axis=0), level)
        cells.append(str(needed) if needed else f"over {NUM_TRIALS}")
        cost = needed - LEVEL_AT if needed else NUM_TRIALS - LEVEL_AT
        cells.append(f"{cost:+d} ({cost / LEVEL_AT:+.0%})" if past != "none" else "")
        later = all_runs[:, LEVEL_AT + ALLOWED - 1] - curves["none"][:, LEVEL_AT - 1]
        cells.append(mean_cell(later, num_seeds))
        yield f"| {past} | " + " | ".join([*cells, f"{own[past]:.2f}"]) + " |"
    yield ""


def mean_cell(regrets: Curves, num_seeds: int) -> str:
    by_seed = regrets.reshape(-1, num_seeds).mean(axis=0)
    error = by_seed.std(ddof=1) / np.sqrt(num_seeds) if num_seeds > 1 else 0.0
    return f"{by_seed.mean():.3f} ± {error:.3f}"


def trials_to(curve: Curves, level: float) -> int:
    """Return after how many trials a curve is first at or below the level; 0: never."""
    reached = np.flatnonzero(curve <= level + 1e-12)
    return int(reached[0]) + 1 if len(reached) else 0


if __name__ == "__main__":
    main()

"""What ensembles gain over the winner of the cross-validation, trained anew on all rows.

For each data set and model, a study of random configurations with 3 folds, or 5; a quarter of the
rows is kept for the test. Everything is chosen on out-of-fold predictions. On the test rows,
compared row by row with the *refitted winner* (the configuration with the best mean score over the
folds, trained on all other rows; the mean loss of 3 such models): the best trial's *fold average*,
the *average of the refits*, and the ensembles of every builder, by their members.

*Nested* is the loss out of fold, of ensembles that were chosen on the rows of the other folds. It
and *few rows* (ensembles chosen on some out-of-fold rows and judged on the other ones) are what
defaults are chosen by: no test row takes part in that.

Of digits there are several test splits; their rows are pooled, so that a row counts as often as it
is drawn, and the intervals are a little too narrow.

Usage: ``OMP_NUM_THREADS=1 python platform/benchmarks/ensembles.py [CASE ...]
[--mnist mnist8k.h5] [--store ensembles] [--build-time]``; ``mnist.py`` makes ``mnist8k.h5``.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from ensemble_studies import Case, Predicted, predictions_of
from numpy.typing import NDArray

from rayfold.ensemble.builders import Best, Builder, Convex, Greedy, Stacked
from rayfold.ensemble.evaluation.nested_validation import evaluate
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.tasks import infer_task

CASES = {
    "mnist8k cnn": [
        Case(data="mnist8k", model="cnn", split=0, num_trials=30, epochs=12, narrow=True)
    ],
    "mnist8k cnn, 5 folds": [
        Case(
            data="mnist8k",
            model="cnn",
            split=0,
            num_trials=30,
            epochs=12,
            num_folds=5,
            narrow=True,
        )
    ],
    "mnist8k mlp": [Case(data="mnist8k", model="mlp", split=0, num_trials=40, epochs=12)],
    "digits cnn": [
        Case(data="digits", model="cnn", split=split, num_trials=40, epochs=12)
        for split in range(2)
    ],
    "digits cnn, 5 folds": [
        Case(data="digits", model="cnn", split=split, num_trials=40, epochs=12, num_folds=5)
        for split in range(2)
    ],
}

BUILDERS: dict[str, Builder] = {
    "best 1": Best(1, calibrate=False),
    "best 10": Best(10),
    "best 10, raw": Best(10, calibrate=False),
    "best 10, by score": Best(10, weighting="score"),
    "convex": Convex(),
    "convex, raw": Convex(calibrate=False),
    "stacked 10": Stacked(10),
    "greedy 10": Greedy(10),
    "greedy 50": Greedy(50),
    "greedy 50, raw": Greedy(50, calibrate=False, prior_rows=1000),
    "greedy 50, start 5": Greedy(50, num_start=5),
    "greedy 50, bags 10": Greedy(50, num_bags=10),
    "greedy 50, prior 0": Greedy(50, prior_rows=0),
    "greedy 50, prior 0, raw": Greedy(50, prior_rows=0, calibrate=False),
    "greedy 50, prior 0, bags 10": Greedy(50, prior_rows=0, num_bags=10),
    "greedy 50, prior 200": Greedy(50, prior_rows=200),
    "greedy 50, prior 5000": Greedy(50, prior_rows=5000),
}
"""*Raw* ones are not calibrated."""

SIZES = (1, 2, 3, 5, 10, 20, 30, 50)
CURVES: dict[str, Callable[[int], Builder]] = {
    "best": Best,
    "best, raw": lambda size: Best(size, calibrate=False),
    "best, by score": lambda size: Best(size, weighting="score"),
    "convex": Convex,
    "stacked": Stacked,
    "greedy": Greedy,
    "greedy, prior 0, raw": lambda size: Greedy(size, prior_rows=0, calibrate=False),
    "greedy, bags 10": lambda size: Greedy(size, num_bags=10),
    "greedy, start 5": lambda size: Greedy(size, num_start=5),
}

FEW_ROWS, DRAWS = (50, 200, 800), 10
RESAMPLES = 2000

LOSS_GOAL, ERROR_GOAL, SECONDS_GOAL = -0.20, -0.15, 5.0

Rows = NDArray[np.float64]
"""One value for each test row, those of all splits after one another."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for and print the tables."""
    asked = parse(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    print(f"`{shlex.join(['python', 'platform/benchmarks/ensembles.py', *given])}`\n")
    if asked.build_time:
        print("\n".join(build_time_lines()), flush=True)
    asked.store.mkdir(parents=True, exist_ok=True)
    for name in asked.cases:
        splits = [predictions_of(case, asked.mnist, asked.store) for case in CASES[name]]
        print(f"## {name}\n")
        for lines in (score_lines(splits), curve_lines(splits), few_rows_lines(splits)):
            print("\n".join(lines), flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of {', '.join(CASES)}")
    parser.add_argument(
        "--mnist", type=Path, help="the file that mnist.py makes; for cases named mnist8k"
    )
    parser.add_argument("--store", type=Path, default=Path("ensembles"))
    parser.add_argument("--build-time", action="store_true")
    found = parser.parse_args(arguments)
    for name in found.cases:
        if name not in CASES:
            parser.error(f"CASE {name!r} is none of {', '.join(CASES)}")
    if not found.cases and not found.build_time:
        found.cases = list(CASES)
    for name in found.cases:
        if found.mnist is None and any(case.data == "mnist8k" for case in CASES[name]):
            parser.error(f"CASE {name!r} needs --mnist, the file that mnist.py makes")
    found.store = found.store.absolute()
    return found


# Scores


def score_lines(splits: Sequence[Predicted]) -> Iterator[str]:
    """Yield the scores of every builder on the test rows, beside the refitted winner's."""
    num_trials, num_rows, _ = splits[0].out_of_fold.predictions.shape
    num_tested = sum(len(split.held_out.target) for split in splits)
    yield f"{num_trials} trials, {num_rows} rows to choose on, {len(splits)} test split(s)"
    yield f"with {num_tested} rows together."
    yield ""
    yield "| | members | nested log loss | log loss | to the refit | error | to the refit |"
    yield "|---|---|---|---|---|---|---|"
    reference = pooled([refit_scores(split) for split in splits])
    yield score_line("refitted winner", None, None, reference, reference)
    averages = pooled([scores(split.refits.mean(axis=0), split.held_out) for split in splits])
    yield score_line("average of 3 refits", None, None, averages, reference)
    folds = pooled(
        [
            scores(split.held_out.predictions[split.winner].astype(float), split.held_out)
            for split in splits
        ]
    )
    yield score_line("winner's fold average", None, None, folds, reference)
    for name, builder in BUILDERS.items():
        chosen = [builder.build(split.out_of_fold) for split in splits]
        found = pooled(
            [
                scores(selection.predict(split.held_out), split.held_out)
                for selection, split in zip(chosen, splits, strict=True)
            ]
        )
        nested = float(np.mean([evaluate(builder, split.out_of_fold).loss for split in splits]))
        members = float(np.mean([len(selection.candidates) for selection in chosen]))
        yield score_line(name, members, nested, found, reference)
    yield ""
    yield f"Goals, to the refit: log loss {LOSS_GOAL:+.0%}, error {ERROR_GOAL:+.0%}."
    yield ""


def score_line(
    name: str,
    members: float | None,
    nested: float | None,
    found: tuple[Rows, Rows],
    reference: tuple[Rows, Rows],
) -> str:
    cells = [
        "" if members is None else f"{members:.3g}",
        "" if nested is None else f"{nested:.4f}",
    ]
    for values, others, style in zip(found, reference, (".4f", ".2%"), strict=True):
        low, high = interval(values)
        cells.append(f"{values.mean():{style}} [{low:{style}}, {high:{style}}]")
        cells.append("" if found is reference else change_cell(values, others))
    return f"| {name} | " + " | ".join(cells) + " |"


def scores(predictions: NDArray[np.float64], held_out: OutOfFold) -> tuple[Rows, Rows]:
    """Return log loss and error of each test row.

    Args:
        predictions: Shape ``(rows, classes)``, or ``(models, rows, classes)``: the models' mean.
        held_out: What is true of the rows.
    """
    losses = held_out.task.row_losses(predictions, held_out.target)
    wrong = (predictions.argmax(axis=-1) != held_out.target).astype(float)
    if predictions.ndim == 3:
        return losses.mean(axis=0), wrong.mean(axis=0)
    return losses, wrong


def refit_scores(split: Predicted) -> tuple[Rows, Rows]:
    return scores(split.refits, split.held_out)


def pooled(found: Sequence[tuple[Rows, Rows]]) -> tuple[Rows, Rows]:
    losses, wrong = zip(*found, strict=True)
    return np.concatenate(losses), np.concatenate(wrong)


def interval(values: Rows) -> tuple[float, float]:
    """Return the bootstrap interval of 95 % of a mean over rows."""
    return _ends(_resampled(values[None])[0])


def change(values: Rows, reference: Rows) -> tuple[float, float, float]:
    """Return by what share a mean differs from another of the same rows, with its interval."""
    tops, bottoms = _resampled(np.stack([values, reference]))
    low, high = _ends(tops / np.maximum(bottoms, 1e-300) - 1)
    return float(values.mean() / reference.mean() - 1), low, high


def change_cell(values: Rows, reference: Rows) -> str:
    share, low, high = change(values, reference)
    return f"{share:+.1%} [{low:+.1%}, {high:+.1%}]"


def _resampled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return means over the same rows drawn with replacement, shape ``(values, RESAMPLES)``."""
    generator, num_rows = np.random.default_rng(0), values.shape[1]
    means = [
        values[:, generator.integers(num_rows, size=num_rows)].mean(axis=1)
        for _ in range(RESAMPLES)
    ]
    return np.stack(means, axis=1)


def _ends(means: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


# Members


def curve_lines(splits: Sequence[Predicted]) -> Iterator[str]:
    """Yield the test log loss by the number of members, or rounds, relative to the refit."""
    yield "Log loss and error to the refit, by members (rounds of greedy selection):"
    yield ""
    yield "| | " + " | ".join(map(str, SIZES)) + " |"
    yield "|---|" + "---|" * len(SIZES)
    reference = [values.mean() for values in pooled([refit_scores(split) for split in splits])]
    for name, make in CURVES.items():
        cells = []
        for size in SIZES:
            found = pooled(
                [
                    scores(
                        make(size).build(split.out_of_fold).predict(split.held_out),
                        split.held_out,
                    )
                    for split in splits
                ]
            )
            loss, error = (
                values.mean() / one - 1 for values, one in zip(found, reference, strict=True)
            )
            cells.append(f"{loss:+.1%}, {error:+.1%}")
        yield f"| {name} | " + " | ".join(cells) + " |"
    yield ""


# Few rows


def few_rows_lines(splits: Sequence[Predicted]) -> Iterator[str]:
    """Yield how good ensembles are that were chosen on few rows, judged on the other ones."""
    yield "Out-of-fold log loss to that of the best trial on all of these rows, of ensembles that"
    yield f"were chosen on some of them and judged on the others (mean of {DRAWS} draws a split,"
    yield "± standard error):"
    yield ""
    columns = [f"{number} rows" for number in FEW_ROWS]
    yield "| | " + " | ".join(columns) + " | all folds but one (nested) |"
    yield "|---|" + "---|" * (len(FEW_ROWS) + 1)
    for name, builder in BUILDERS.items():
        cells = []
        for number in FEW_ROWS:
            changes = np.array(
                [
                    few_rows_change(builder, split.out_of_fold, number, draw)
                    for split in splits
                    for draw in range(DRAWS)
                ]
            )
            error = changes.std(ddof=1) / np.sqrt(len(changes))
            cells.append(f"{changes.mean():+.1%} ± {error:.1%}")
        nested = [
            evaluate(builder, split.out_of_fold).loss / split.out_of_fold.losses().min() - 1
            for split in splits
        ]
        cells.append(f"{np.mean(nested):+.1%}")
        yield f"| {name} | " + " | ".join(cells) + " |"
    yield ""


def few_rows_change(builder: Builder, out_of_fold: OutOfFold, number: int, draw: int) -> float:
    """Return by what share an ensemble that was chosen on few rows differs from the best trial.

    Both are judged on the rows that were not drawn; the best trial is that of all rows.
    """
    drawn = np.zeros(len(out_of_fold.target), bool)
    order = np.random.default_rng([draw, number]).permutation(len(drawn))
    drawn[order[:number]] = True
    others = out_of_fold.of_rows(~drawn)
    predictions = builder.build(out_of_fold.of_rows(drawn)).predict(others)
    best = others.predictions[out_of_fold.losses().argmin()]
    row_losses = others.task.row_losses
    loss = row_losses(predictions, others.target).mean()
    return float(loss / row_losses(best, others.target).mean() - 1)


# Time


def build_time_lines(
    num_candidates: int = 1000, num_rows: int = 8000, num_classes: int = 10
) -> Iterator[str]:
    """Yield how long builders take, and how much longer a plain loop would."""
    made_up = make_out_of_fold(num_candidates, num_rows, num_classes)
    yield f"{num_candidates:,} candidates, {num_rows:,} rows, {num_classes} classes:"
    yield ""
    yield "| | seconds |"
    yield "|---|---|"
    taken = {}
    for name in (
        "greedy 10",
        "greedy 50",
        "greedy 50, bags 10",
        "best 10",
        "convex",
        "stacked 10",
    ):
        began = time.perf_counter()
        BUILDERS[name].build(made_up)
        taken[name] = time.perf_counter() - began
        yield f"| {name} | {taken[name]:.2f} |"
    began = time.perf_counter()
    plain_greedy(made_up, num_rounds=1)
    plain = 50 * (time.perf_counter() - began)
    yield f"| the same as greedy 50 over whole probabilities (of 1 round) | {plain:.1f} |"
    yield f"| that to greedy 50 | {plain / taken['greedy 50']:.1f} |"
    yield ""
    yield f"Goal: 50 rounds in {SECONDS_GOAL:g} s on one core."
    yield ""


def make_out_of_fold(num_candidates: int, num_rows: int, num_classes: int) -> OutOfFold:
    """Return made-up probabilities, better than chance."""
    generator = np.random.default_rng(0)
    target = generator.integers(num_classes, size=num_rows)
    predictions = generator.standard_exponential(
        (num_candidates, num_rows, num_classes), dtype=np.float32
    )
    predictions[:, np.arange(num_rows), target] *= 20
    predictions /= predictions.sum(axis=2, keepdims=True)
    return OutOfFold(
        task=infer_task(target),
        predictions=predictions,
        present=np.ones((num_candidates, num_rows), bool),
        complete=np.ones(num_candidates, bool),
        target=target,
        folds=np.arange(num_rows) % 3,
    )


def plain_greedy(out_of_fold: OutOfFold, *, num_rounds: int) -> list[int]:
    """Return the rounds of a selection that averages all classes' probabilities each time."""
    total = np.zeros(out_of_fold.predictions.shape[1:])
    chosen: list[int] = []
    for number in range(1, num_rounds + 1):
        losses = [
            out_of_fold.task.row_losses((total + each) / number, out_of_fold.target).mean()
            for each in out_of_fold.predictions
        ]
        chosen.append(int(np.argmin(losses)))
        total += out_of_fold.predictions[chosen[-1]]
    return chosen


if __name__ == "__main__":
    main()

"""What trials and epochs a head start saves: digits of 8x8 pixels as the past of MNIST's.

The source is a study of scikit-learn's digits, resampled to 28x28 pixels; the target is a sample
of MNIST, searched with ``mlp`` and the Bayesian searcher. For every random seed the target is
searched cold, with the source's configurations (``start_from``), with its weights
(``initial_weights``), with both, and with both of an adversarial source: a study of the same
digits that takes the largest loss for the best, so that what it hands on, as the best of its past,
are its worst configurations and its worst models.

*Level* is the best score, mean validation loss over the folds, that the cold search of a seed has
after 40 trials. *Trials to the level* and *epochs to the level* count what a search needs until
its best score is at or below that; epochs are those of all trials in order of suggestion, where
within a trial the mean over folds after each epoch counts. *Cost* is how many trials more than the
cold search's 40 are needed; a search that has not got there after all its trials is put
down as that many.

Trials are trained here, one after another in one process, by the same searcher, ledger, journal,
training and MLflow as in a study on Ray, so that the many short studies need not wait for groups.

Usage: ``OMP_NUM_THREADS=1 python platform/benchmarks/transfer.py mnist8k.h5
[--seeds 5] [--trials 44] [--folder DIR]``; studies that are in the folder are not run again.
"""

import argparse
import contextlib
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from sklearn.datasets import load_digits

import rayfold as rf
from rayfold.data import DataSet
from rayfold.jobs import FoldJob
from rayfold.journal import Journal, read_journal
from rayfold.results import Trial, TrialResult
from rayfold.study.opened import Call, OpenStudy
from rayfold.study.opening import open_study
from rayfold.tracking import Uploader, tracking_uri
from rayfold.training import FoldRun, SingleProcess

SPACE = rf.SearchSpace(
    {
        "model.hidden": rf.Choice(64, 128, 256),
        "model.depth": rf.Int(1, 3),
        "model.dropout": rf.Float(0.0, 0.5),
        "model.activation": rf.Choice("relu", "gelu", "tanh"),
        "optimizer.name": rf.Choice("nesterov", "adamw"),
        "optimizer.learning_rate": rf.Float(1e-4, 1e-1, log=True),
        "optimizer.weight_decay": rf.Float(1e-6, 1e-2, log=True),
        "batch_size": rf.Choice(64, 128, 256),
    }
)

LEVEL_AT = 40
"""Trials of the cold search whose score is the level to reach."""

SHOWN = (1, 5, 10, 20, 40)

SOURCES = {"digits": "min", "digits-adversarial": "max"}
"""Name of a source to what it takes for good."""

HEAD_STARTS: dict[str, dict[str, Any]] = {
    "cold": {},
    "configurations": {"start_from": "digits"},
    "weights": {"initial_weights": "digits"},
    "both": {"start_from": "digits", "initial_weights": "digits"},
    "both, adversarial": {
        "start_from": "digits-adversarial",
        "initial_weights": "digits-adversarial",
    },
    "configurations, adversarial": {"start_from": "digits-adversarial"},
    "weights, adversarial": {"initial_weights": "digits-adversarial"},
}

Curve = list[list[float]]
"""For each trial, in order of suggestion, the mean score over its folds after each epoch."""


def main() -> None:
    """Run the studies that are not there yet, and print the tables."""
    arguments = parse()
    print(f"`{shlex.join(['python', 'platform/benchmarks/transfer.py', *sys.argv[1:]])}`\n")
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_digits(folder / "digits.h5")
        for name, mode in SOURCES.items():
            run_study(name, folder, folder / "digits.h5", arguments, seed=1000, mode=mode)
        curves: dict[str, list[Curve]] = {name: [] for name in arguments.head_starts}
        for seed in range(arguments.seeds):
            for name, of_seeds in curves.items():
                study = f"{name.replace(', ', '-')}-{seed}"
                trials = run_study(
                    study, folder, arguments.mnist, arguments, seed=seed, **HEAD_STARTS[name]
                )
                of_seeds.append(to_curve(trials))
                best = best_at(of_seeds[-1], arguments.trials)
                print(f"{study}: {best:.4f}", file=sys.stderr, flush=True)
    print("\n".join(report_lines(curves, arguments.trials)))


def parse() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mnist", type=Path, help="the file that mnist.py makes")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=44)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--test-fraction", type=float, default=0.5)
    parser.add_argument("--head-start", dest="head_starts", action="append", choices=HEAD_STARTS)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.trials < LEVEL_AT:
        parser.error(f"--trials must be at least {LEVEL_AT}")
    arguments.head_starts = list(dict.fromkeys(["cold", *(arguments.head_starts or HEAD_STARTS)]))
    return arguments


def write_digits(path: Path) -> None:
    """Write scikit-learn's digits, 1,797 rows, at the size of MNIST's."""
    digits = load_digits()
    images = torch.from_numpy(digits.images / 16).float()[:, None]
    large = torch.nn.functional.interpolate(images, size=(28, 28), mode="bilinear")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["features"] = large[:, 0].numpy()
        file["labels"] = digits.target.astype("int64")


def run_study(
    name: str,
    folder: Path,
    data: Path,
    arguments: argparse.Namespace,
    *,
    seed: int,
    **head_start: Any,
) -> list[TrialResult]:
    """Run a study to its end; one that is there already only tells its trials."""
    study = rf.Study(
        name,
        model="mlp",
        data=rf.HDF5(data),
        holdout=rf.Holdout(arguments.test_fraction),
        space=SPACE,
        searcher=rf.search.Bayesian(random_seed=seed),
        folds=rf.Folds(3),
        epochs=arguments.epochs,
        random_seed=seed,
        storage=folder / "store",
        **head_start,
    )
    num_trials = study.plan(arguments.trials).num_trials
    with Journal.open(study.folder / "journal.jsonl") as journal:
        entries = read_journal(journal.path)
        opened = open_study(study.preparation, journal, entries, num_trials, Call())
        if opened.ledger.exhausted:
            return opened.ledger.results
        while (trial := opened.ledger.next_trial()) is not None:
            train(trial, opened, study.dataset)
        journal.append("run", state="finished")
    uploader = Uploader([study.folder], tracking_uri(study.storage), study.storage / "artifacts")
    assert uploader.start().finish(600)
    return opened.ledger.results


def train(trial: Trial, opened: OpenStudy, data: DataSet) -> None:
    """Train all folds of a trial, and book them as a study does."""
    ledger, setup = opened.ledger, opened.setup
    try:
        for fold in setup.plan.folds:
            job = FoldJob(
                study=opened.name,
                trial=trial.id,
                config=trial.config,
                fold=fold.index,
                until_epoch=setup.settings.epochs,
                warm=trial.warm and fold.index != trial.control,
            )
            run = FoldRun(job, setup=setup, data=data, collective=SingleProcess())
            result = run.advance(job)
            assert result is not None
            ledger.fold_finished(trial.id, result)
    except FloatingPointError as error:
        ledger.trial_finished(trial.id, "failed", error=str(error))
    else:
        ledger.trial_finished(trial.id, "completed")


def to_curve(trials: Sequence[TrialResult]) -> Curve:
    """Return the mean over folds after each epoch; of a trial that failed infinity."""
    curve = []
    for trial in trials:
        losses = [[epoch["val_loss"] for epoch in fold.history] for fold in trial.folds]
        completed = trial.status == "completed"
        curve.append(list(map(float, np.mean(losses, axis=0))) if completed else [np.inf])
    return curve


# The report


def report_lines(curves: dict[str, list[Curve]], num_trials: int) -> Iterator[str]:
    """Yield the report in Markdown; ± is the standard error over seeds."""
    levels = [min(trial[-1] for trial in curve[:LEVEL_AT]) for curve in curves["cold"]]
    yield f"{len(levels)} seeds, {num_trials} trials; levels " + ", ".join(
        f"{level:.4f}" for level in levels
    )
    columns = [f"best at {number}" for number in SHOWN]
    columns += ["trials to the level", "median", "cost", "epochs to the level, median"]
    yield from [
        "",
        "| head start | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for name, of_seeds in curves.items():
        cells = [mean_cell([best_at(curve, number) for curve in of_seeds]) for number in SHOWN]
        trials = [trials_to(c, level) for c, level in zip(of_seeds, levels, strict=True)]
        epochs = [epochs_to(c, level) for c, level in zip(of_seeds, levels, strict=True)]
        cells.append(", ".join(str(number) if number else "never" for number in trials))
        median = float(np.median([number or num_trials for number in trials]))
        cells += [f"{median:g}", cost_cell(median) if name != "cold" else ""]
        total = max(sum(map(len, curve)) for curve in of_seeds)
        cells.append(f"{np.median([number or total for number in epochs]):g}")
        yield f"| {name} | " + " | ".join(cells) + " |"


def best_at(curve: Curve, number: int) -> float:
    """Return the best score of the first ``number`` trials."""
    return min(trial[-1] for trial in curve[:number])


def trials_to(curve: Curve, level: float) -> int:
    """Return after how many trials the best score is at or below the level; 0: never."""
    reached = (number for number, trial in enumerate(curve, start=1) if trial[-1] <= level)
    return next(reached, 0)


def epochs_to(curve: Curve, level: float) -> int:
    """Return after how many epochs of all trials a score is at or below the level; 0: never."""
    epochs = 0
    for trial in curve:
        for score in trial:
            epochs += 1
            if score <= level:
                return epochs
    return 0


def cost_cell(median: float) -> str:
    cost = max(0.0, median - LEVEL_AT)
    return f"{cost:+g} ({cost / LEVEL_AT:+.0%})"


def mean_cell(values: Sequence[float]) -> str:
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return f"{np.mean(values):.4f} ± {error:.4f}"


if __name__ == "__main__":
    main()

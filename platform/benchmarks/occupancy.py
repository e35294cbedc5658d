"""How busy a study keeps its groups.

Runs 40 trials x 3 folds of ``cnn`` on scikit-learn's digits with 2 groups of 1 worker, random
search, and prints the share of the groups' time spent in training steps and validation, from the
first group's readiness to the last fold (goal: at least 0.90), and trials per minute.

Usage: ``python platform/benchmarks/occupancy.py [--trials 40] [--epochs 12] [--groups 2]``
"""

import argparse
import tempfile
from pathlib import Path

import h5py
from sklearn.datasets import load_digits

import rayfold as rf
from rayfold.journal import read_journal


def main() -> None:
    """Run the study and print its occupancy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--groups", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        digits = load_digits()
        with h5py.File(folder / "digits.h5", "w") as file:
            file["features"] = (digits.images / 16).astype("float32")
            file["labels"] = digits.target
        study = rf.Study(
            "occupancy",
            model="cnn",
            data=rf.HDF5(folder / "digits.h5"),
            holdout=rf.Holdout(0.2),
            searcher=rf.search.Random(random_seed=0),
            folds=rf.Folds(3),
            epochs=arguments.epochs,
            groups=rf.Groups(1, arguments.groups),
            storage=folder / "store",
        )
        result = study.run(num_trials=arguments.trials, show_progress=False)
        entries = read_journal(study.folder / "journal.jsonl")
    ready = [entry.fields["ready_at"] for entry in entries if entry.event == "group"]
    folds = [fold for trial in result.trials for fold in trial.folds]
    busy = sum(fold.busy_seconds for fold in folds)
    first, last = min(ready), max(fold.finished_at for fold in folds)
    span = last - first
    print(f"trials {len(result.trials)}, folds {len(folds)}, groups {len(ready)}")
    print(f"groups ready after 0 and {max(ready) - first:.1f} s; last fold after {span:.1f} s")
    print(f"occupancy          {busy / (len(ready) * span):.3f}  (goal 0.90)")
    print(f"trials per minute  {60 * len(result.trials) / span:.1f}")


if __name__ == "__main__":
    main()

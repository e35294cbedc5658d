"""What racing saves, and whether it finds the same winner, on scores of real networks.

Tabulates the 5 folds of 150 configurations of scikit-learn's MLPClassifier on two of its data sets
(4 minutes on one core; the table is kept), then lets 100 of them race in 60 random orders, 1 and
16 trials at once. Prints for each rule how many times fewer folds were trained than without a
scheduler, how often the winner was the same, and how much worse the winner's mean log loss was.

Usage: ``python platform/benchmarks/racing.py [--table racing.npz]``
"""

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from rayfold.schedulers import Racing

NUM_CONFIGURATIONS, NUM_FOLDS, NUM_TRIALS, NUM_ORDERS = 150, 5, 100, 60

RULES: dict[str, dict[str, Any]] = {
    "matched": {},
    "forgiving": {"rule": "forgiving"},
    "paired, level 0.05": {"rule": "paired"},
    "paired, level 0.2": {"rule": "paired", "level": 0.2},
}


def main() -> None:
    """Tabulate unless that was done, race and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=Path("racing.npz"))
    path = parser.parse_args().table
    if not path.exists():
        made = {name: tabulate(name) for name in ("digits", "breast_cancer")}
        np.savez(path, allow_pickle=False, **made)
    tables = np.load(path)
    for name in tables:
        for rule, arguments in RULES.items():
            for at_once in (1, 16):
                fewer, same, loss = measure(tables[name], arguments, at_once)
                print(
                    f"{name}, {rule}, {at_once} at once: {fewer:.2f} times fewer folds, "
                    f"same winner {same:.0%}, loss {loss:.1%}"
                )


def tabulate(name: str) -> NDArray[np.float64]:
    """Return the log loss of each configuration and fold."""
    load = {"digits": load_digits, "breast_cancer": load_breast_cancer}[name]
    features, labels = (array[:600] for array in load(return_X_y=True))
    features = StandardScaler().fit_transform(features)
    splitter = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=0)
    generator = np.random.default_rng(0)
    table = np.zeros((NUM_CONFIGURATIONS, NUM_FOLDS))
    warnings.simplefilter("ignore", ConvergenceWarning)
    for number in range(NUM_CONFIGURATIONS):
        options = {
            "hidden_layer_sizes": (int(8 * 8 ** generator.random()),),
            "learning_rate_init": 10 ** generator.uniform(-4, -0.5),
            "alpha": 10 ** generator.uniform(-6, 0),
            "batch_size": int(generator.choice([16, 32, 64])),
            "max_iter": 8,
        }
        for fold, (training, validation) in enumerate(splitter.split(features, labels)):
            model = MLPClassifier(**options, random_state=number * NUM_FOLDS + fold)
            model.fit(features[training], labels[training])
            predicted = np.clip(model.predict_proba(features[validation]), 1e-6, 1)
            predicted /= predicted.sum(axis=1, keepdims=True)
            table[number, fold] = log_loss(labels[validation], predicted, labels=model.classes_)
    return table


def measure(
    table: NDArray[np.float64], arguments: dict[str, Any], at_once: int
) -> tuple[float, float, float]:
    """Return how many times fewer folds, how often the same winner, and its relative loss."""
    runs = []
    for seed in range(NUM_ORDERS):
        chosen = table[np.random.default_rng(seed).permutation(len(table))[:NUM_TRIALS]]
        num_folds, winner = race(chosen, Racing(**arguments), at_once)
        means = chosen.mean(axis=1)
        same, loss = winner == means.argmin(), means[winner] / means.min() - 1
        runs.append((chosen.size / num_folds, same, loss))
    fewer, same, loss = np.mean(runs, axis=0)
    return float(fewer), float(same), float(loss)


def race(table: NDArray[np.float64], racing: Racing, at_once: int) -> tuple[int, int]:
    """Return how many folds were trained, and who won."""
    racing.start(mode="min", num_folds=NUM_FOLDS, epochs=1)
    waiting, running = list(range(len(table))), dict[int, int]()
    num_folds, means = 0, dict[int, float]()
    while waiting or running:
        while waiting and len(running) < at_once:
            running[waiting.pop(0)] = 0
        for trial in list(running):
            running[trial] += 1
            num_folds += 1
            scores = dict(enumerate(table[trial, : running[trial]].tolist()))
            decision = racing.report(str(trial), scores, epoch=1)
            if running[trial] == NUM_FOLDS or decision == "stop":
                complete = running.pop(trial) == NUM_FOLDS
                racing.finished(str(trial), "completed" if complete else "stopped")
                means |= {trial: float(table[trial].mean())} if complete else {}
    return num_folds, min(means, key=lambda trial: means[trial])


if __name__ == "__main__":
    main()

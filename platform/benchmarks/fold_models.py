"""Whether Bayesian search gains from what it could know of single folds, when trials race.

A trial that was dropped has the mean of fewer folds, and of folds that may be harder than others.
Compared at equal numbers of fold trainings, by the regret of the best completed trial (0: the best
configuration of the grid by its mean over all folds, 1: the median one):

* *no racing*: every trial trains all its folds;
* *means*: trials race, and the searcher learns the means of what was trained (what a study does);
* *fold noise*: it also learns the standard errors (``fold_noise=True``);
* *centred*: each fold's difficulty, by the completed trials, is taken off first;
* *fold as task*: a Gaussian process over pairs of configuration and fold, whose covariance over
  folds is constant plus diagonal; improvement is that of the mean over all folds (FCVOpt).

Tabulates 5 folds of 288 scikit-learn networks on three of its data sets (30 minutes on one core;
the table is kept), then searches each 20 times.

References:
    Swersky, Snoek, Adams, "Multi-Task Bayesian Optimization", NIPS 2013 (folds as tasks).

Usage: ``python platform/benchmarks/fold_models.py [--table folds.npz] [--seeds 20]``
"""

import argparse
import itertools
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from rayfold.results import Config
from rayfold.schedulers import Racing
from rayfold.search import Bayesian
from rayfold.search.bayesian.acquisition import log_expected_improvement
from rayfold.search.bayesian.searcher import standardized
from rayfold.space import Choice, SearchSpace

Matrix = NDArray[np.float64]

LOADERS = {"breast_cancer": load_breast_cancer, "wine": load_wine, "digits": load_digits}
GRID = {
    "hidden_layer_sizes": (8, 16, 32, 64),
    "learning_rate_init": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "alpha": (1e-4, 1e-2, 1e-1, 1.0),
    "batch_size": (16, 32, 64),
}
SPACE = SearchSpace({name: Choice(*values) for name, values in GRID.items()})
NUM_FOLDS = 5
BUDGETS = (50, 75, 100, 150)
VARIANTS = ("no racing", "means", "fold noise", "centred", "fold as task")

SHARES = (0.0, 0.1, 0.3)
"""Of a function's variance, what folds may differ in."""

TRIAL_NOISES, FOLD_NOISES = (1e-3, 0.01, 0.05, 0.2), (0.003, 0.01, 0.03, 0.1, 0.3)


def main() -> None:
    """Tabulate unless that was done, search and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--table", type=Path, default=Path("folds.npz"))
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    if not arguments.table.exists():
        np.savez(arguments.table, allow_pickle=False, **{name: tabulate(name) for name in LOADERS})
    tables = np.load(arguments.table)
    print("| data | searcher | " + " | ".join(f"{budget} folds" for budget in BUDGETS) + " |")
    print("|---|---|" + "---|" * len(BUDGETS))
    for name, variant in itertools.product(tables, VARIANTS):
        runs = [search(tables[name], variant, seed) for seed in range(arguments.seeds)]
        regrets = np.array(runs)
        errors = regrets.std(axis=0, ddof=1) / math.sqrt(len(regrets))
        cells = [
            f"{mean:.3f} ± {error:.3f}"
            for mean, error in zip(regrets.mean(axis=0), errors, strict=True)
        ]
        print(f"| {name} | {variant} | " + " | ".join(cells) + " |", flush=True)


def tabulate(name: str) -> Matrix:
    """Return the log loss of each configuration and fold."""
    features, labels = (array[:400] for array in LOADERS[name](return_X_y=True))
    features = StandardScaler().fit_transform(features)
    splits = list(StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=0).split(features, labels))
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows = []
    for number, values in enumerate(itertools.product(*GRID.values())):
        options = dict(zip(GRID, values, strict=True))
        losses = []
        for fold, (training, validation) in enumerate(splits):
            seed = number * NUM_FOLDS + fold
            model = MLPClassifier(**options, max_iter=8, random_state=seed)
            model.fit(features[training], labels[training])
            predicted = np.clip(model.predict_proba(features[validation]), 1e-6, 1)
            predicted /= predicted.sum(axis=1, keepdims=True)
            losses.append(log_loss(labels[validation], predicted, labels=model.classes_))
        rows.append(losses)
    return np.array(rows)


def row_of(config: Config) -> int:
    """Return the row of the table that holds a configuration."""
    places = [values.index(config[name]) for name, values in GRID.items()]
    return int(np.ravel_multi_index(places, [len(values) for values in GRID.values()]))


def search(table: Matrix, variant: str, seed: int) -> list[float]:
    """Return the regret at each of ``BUDGETS``; folds come in an order of the seed's own."""
    table = table[:, np.random.default_rng(seed).permutation(NUM_FOLDS)]
    means = table.mean(axis=1)
    regrets = (means - means.min()) / (np.median(means) - means.min())
    kinds = {"centred": Centred, "fold as task": FoldAsTask}
    searcher = kinds.get(variant, Bayesian)(random_seed=seed, fold_noise=variant == "fold noise")
    searcher.start(SPACE, mode="min")
    racing = Racing()
    racing.start(mode="min", num_folds=NUM_FOLDS, epochs=1)
    best, curve = (math.inf, math.inf), list[float]()
    while len(curve) < max(BUDGETS):
        suggestion = searcher.suggest()
        assert suggestion is not None
        row, scores = row_of(suggestion.config), dict[int, float]()
        for fold in range(NUM_FOLDS):
            scores[fold] = float(table[row, fold])
            curve.append(best[1])
            if variant == "no racing":
                continue
            if racing.report(suggestion.id, dict(scores), epoch=1) == "stop":
                break
        complete = len(scores) == NUM_FOLDS
        if variant != "no racing":
            racing.finished(suggestion.id, "completed" if complete else "stopped")
        if complete:
            best = min(best, (float(means[row]), float(regrets[row])))
            curve[-1] = best[1]
        if isinstance(searcher, Centred):
            searcher.folds[suggestion.id] = scores
        values = np.array(list(scores.values()))
        searcher.observe(
            suggestion.id,
            score=float(values.mean()),
            standard_error=float(values.std(ddof=1) / math.sqrt(len(values)))
            if len(values) > 1
            else None,
            num_folds=len(values),
        )
    return [curve[budget - 1] for budget in BUDGETS]


class Centred(Bayesian):
    """Takes each fold's difficulty off the scores.

    Attributes:
        folds: Scores of each trial's folds, by id.
    """

    def _begin(self) -> None:
        super()._begin()
        self.folds: dict[str, dict[int, float]] = {}

    def _effects(self) -> Matrix:
        """Return how much worse each fold is than the mean, by the median completed trial."""
        complete = [
            [scores[fold] for fold in range(NUM_FOLDS)]
            for scores in self.folds.values()
            if len(scores) == NUM_FOLDS
        ]
        if len(complete) < 2:
            return np.zeros(NUM_FOLDS)
        table = np.array(complete)
        effects: Matrix = np.median(table - table.mean(axis=1, keepdims=True), axis=0)
        return effects

    def _centred(self) -> Matrix:
        """Return the mean score of each trial told, fold effects taken off."""
        effects = self._effects()
        told = [self.folds[entry.suggestion.id] for entry in self._told]
        return np.array(
            [np.mean([score - effects[fold] for fold, score in own.items()]) for own in told]
        )

    def _observations(self) -> tuple[Matrix, Matrix, Matrix]:
        places = np.array([self._places[entry.suggestion.id] for entry in self._told])
        scores, _ = standardized(self._centred())
        return places, scores, np.zeros(len(scores))


class FoldAsTask(Centred):
    """Models each pair of configuration and fold.

    Length scales and amplitude are those of the centred means; what folds share, and the two kinds
    of noise, are chosen from a grid by the likelihood of all folds' scores.
    """

    def _by_process(self, generator: np.random.Generator) -> Matrix | None:
        places, means, variances = self._observations()
        features = self._encoding.features(places)
        process = self._process
        process.fit(features, means, variances, seed=self._random_seed)
        trials, folds, scores = self._pairs(means)
        same_fold, same_trial = folds[:, None] == folds, trials[:, None] == trials
        matern = process._covariance(features, features)[np.ix_(trials, trials)]
        best: tuple[float, Any] = (-math.inf, None)
        for share, of_trial, of_fold in itertools.product(SHARES, TRIAL_NOISES, FOLD_NOISES):
            covariance = matern * (1 - share + share * same_fold) + of_trial * same_trial
            covariance[np.diag_indices_from(covariance)] += of_fold
            factor = np.linalg.cholesky(covariance)
            whitened = np.linalg.solve(factor, scores)
            likelihood = -whitened @ whitened / 2 - np.log(np.diag(factor)).sum()
            best = max(best, (float(likelihood), (share, factor, whitened)), key=lambda it: it[0])
        share, factor, whitened = best[1]
        common = 1 - share + share / NUM_FOLDS  # of the mean over all folds

        def predict(features_of: Matrix) -> tuple[Matrix, Matrix]:
            covariance = common * process._covariance(features, features_of)[trials]
            projected = np.linalg.solve(factor, covariance)
            rest = common * process.hyperparameters.amplitude - np.square(projected).sum(axis=0)
            return projected.T @ whitened, np.sqrt(np.maximum(rest, 1e-12))

        lowest = float(predict(features)[0].min())

        def improvement(candidates: Matrix) -> Matrix:
            mean, deviation = predict(self._encoding.features(candidates))
            return log_expected_improvement(mean, deviation, lowest)

        return self._search(improvement, places, means, generator)

    def _pairs(self, means: Matrix) -> tuple[Any, Any, Matrix]:
        """Return trial, fold and score of every fold, scaled and flattened as the means are."""
        effects, raw = self._effects(), self._centred()
        unit = standardized(raw)[1]
        rows = [
            (trial, fold, means[trial] + (score - effects[fold] - raw[trial]) / unit)
            for trial, entry in enumerate(self._told)
            for fold, score in self.folds[entry.suggestion.id].items()
        ]
        trials, folds, scores = (np.array(column) for column in zip(*rows, strict=True))
        return trials, folds, scores


if __name__ == "__main__":
    main()

"""Bayesian search."""

import logging
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from rayfold.options.arguments import checked
from rayfold.options.fields import Flag, Plural, Seed
from rayfold.results import Config
from rayfold.search.base import Observation, Searcher
from rayfold.search.bayesian.acquisition import (
    best_place,
    confidence_bound,
    log_expected_improvement,
)
from rayfold.search.bayesian.gaussian_process import GaussianProcess
from rayfold.search.bayesian.prior import PastPrior
from rayfold.search.encoding import Encoding
from rayfold.search.forests import Forest, Kind

logger = logging.getLogger(__name__)

Matrix = NDArray[np.float64]
SurrogateName = Literal["auto", "gaussian_process", "extra_trees", "random_forest"]
Pending = Literal["ignore", "believer", "liar"]

MAX_GAUSSIAN = 2000
"""With more observations, ``"auto"`` uses extra trees."""

NUMERICAL_ERRORS = (ValueError, FloatingPointError, np.linalg.LinAlgError)

REACH = 3.0
"""Scores are flattened beyond this multiple of the distance from the best to the median.

With 1, length scales shrank on noisy tables until the model followed the noise. Without a limit,
diverged trials hid the differences between good trials.
"""

LARGEST = 1e150
"""Larger scores are cut to this value, so that their squares are finite."""

NUM_GOOD = 10
"""Number of best observations whose variations are candidates."""


class Bayesian(Searcher):
    """Models the score and suggests where it is likely to improve; never ends.

    The first configurations are a random, even spread. Then a Gaussian process, or a forest of
    trees, is fitted to all scores. The configuration with the highest expected improvement is
    suggested. A configuration is not repeated while new ones are easy to find. Bad scores are
    flattened and failed trials count as the worst score, so that they do not hide the differences
    between good trials.

    If a surrogate fails numerically, a warning says so once. Extra trees replace it, and random
    draws if these fail, too.

    A resumed study continues exactly: the Gaussian process repeats the same fits. There is one fit
    whenever the number of observations has grown by a tenth.

    Args:
        random_seed: Seed of all random draws, at least 0.
        num_initial: Configurations before the first model, at least 2. Configurations of earlier
            studies count only if they have won (see ``search.opening``).
        surrogate: ``"gaussian_process"``, ``"extra_trees"``, ``"random_forest"``, or ``"auto"``:
            a Gaussian process up to 2,000 observations, then extra trees.
        pending: Score that the model assumes for running trials: ``"ignore"`` (none),
            ``"believer"`` (its prediction) or ``"liar"`` (the best score so far).
        fold_noise: Whether the Gaussian process uses the scores' standard errors over folds.

    Raises:
        RecipeError: If an argument is out of range.
    """

    @checked
    def __init__(
        self,
        *,
        random_seed: Seed = 0,
        num_initial: Plural = 8,
        surrogate: SurrogateName = "auto",
        pending: Pending = "ignore",
        fold_noise: Flag = False,
    ) -> None:
        self._random_seed, self._num_initial = random_seed, num_initial
        self._surrogate: str = surrogate
        self._pending_as: str = pending
        self._fold_noise = fold_noise

    def settings(self) -> dict[str, Any]:
        """Return ``{"bayesian": {"random_seed": 0, "num_initial": 8, ...}}``."""
        return {
            "bayesian": {
                "random_seed": self._random_seed,
                "num_initial": self._num_initial,
                "surrogate": self._surrogate,
                "pending": self._pending_as,
                "fold_noise": self._fold_noise,
            }
        }

    def _begin(self) -> None:
        self._encoding = Encoding(self.space)
        self._initial = self._spread()
        self._places: dict[str, Matrix] = {}
        self._taken: set[bytes] = set()
        self._told: list[Observation] = []
        self._num_scored = 0
        self._process = GaussianProcess(self._encoding.num_features)
        self._prior: PastPrior | None = None
        if self.past.studies:
            self._prior = PastPrior(self.past, self._encoding, seed=self._random_seed)
        self._num_own = 0
        self._warned: set[str] = set()

    def _propose(self) -> Config:
        generator = np.random.default_rng([self._random_seed, len(self._places)])
        place = None
        if self._num_trusted < self._num_initial:
            place = self._initial[self._num_own]
        elif self._modelled:
            with one_thread():
                place = self._model_based(generator)
        if place is None or self._encoding.key(place) in self._taken:
            place = self._random_place(generator)
            if self._encoding.key(place) in self._taken:
                self._warn_once("space", "The space has hardly more configurations; some repeat.")
        self._num_own += 1
        return self._take(self._encoding.config(place))

    def _adopt(self, config: Config) -> None:
        self._take(config)

    def _recall(self, config: Config) -> bool:
        """Accept the configuration, but repeat the fit: each fit starts from the last one."""
        self.space.check(config)
        if self._modelled and self._process_is_used and self._process.outgrown(len(self._told)):
            places, scores, variances = self._observations()
            features = self._encoding.features(places)
            try:
                with one_thread():
                    self._process.fit_hyperparameters(
                        features,
                        *self._residual(features, scores, variances),
                        seed=self._random_seed,
                    )
            except NUMERICAL_ERRORS as error:
                self._fall_back("gaussian_process", error)
        self._num_own += 1
        self._take(config)
        return True

    def _learn(self, observation: Observation) -> None:
        self._told.append(observation)
        self._num_scored += observation.score is not None

    def _relearn(self, observation: Observation) -> None:
        """Replace the failure by the new result."""
        ids = [entry.suggestion.id for entry in self._told]
        before = self._told[ids.index(observation.suggestion.id)]
        self._told[ids.index(observation.suggestion.id)] = observation
        self._num_scored += (observation.score is not None) - (before.score is not None)

    def _take(self, config: Config) -> Config:
        place = self._encoding.place(config)
        self._places[f"{len(self._places):04d}"] = place
        self._taken.add(self._encoding.key(place))
        return config

    def _spread(self) -> Matrix:
        """Return the first places: a scrambled Sobol sequence."""
        from scipy.stats import qmc

        sobol = qmc.Sobol(self.space.dimension, rng=np.random.default_rng(self._random_seed))
        points = sobol.random_base2(max(1, (self._num_initial - 1).bit_length()))
        return self._encoding.places(points[: self._num_initial])

    def _random_place(self, generator: np.random.Generator) -> Matrix:
        """Return a random place that is not taken, if one is easy to find."""
        places = self._encoding.places(generator.random((64, self.space.dimension)))
        return next(
            (place for place in places if self._encoding.key(place) not in self._taken), places[0]
        )

    def _model_based(self, generator: np.random.Generator) -> Matrix | None:
        """Return the best place of the first surrogate that does not fail; None if all fail."""
        if self._process_is_used:
            try:
                return self._by_process(generator)
            except NUMERICAL_ERRORS as error:
                self._fall_back("gaussian_process", error)
        kind: Kind = "random_forest" if self._surrogate == "random_forest" else "extra_trees"
        try:
            return self._by_forest(kind, generator)
        except NUMERICAL_ERRORS as error:
            self._fall_back(kind, error)
        return None

    @property
    def _modelled(self) -> bool:
        """Whether the next suggestion comes from a model, which needs two scores."""
        return self._num_trusted >= self._num_initial and self._num_scored > 1

    @property
    def _num_trusted(self) -> int:
        """Number of initial configurations so far; of earlier studies only those that have won.

        A model that has only seen a bad corner of the space stays there.
        """
        return self._num_own + self._opening.num_won

    @property
    def _process_is_used(self) -> bool:
        if self._surrogate == "auto":
            return len(self._told) <= MAX_GAUSSIAN
        return self._surrogate == "gaussian_process"

    def _by_process(self, generator: np.random.Generator) -> Matrix | None:
        places, scores, variances = self._observations()
        features = self._encoding.features(places)
        process = self._process
        residual, variances = self._residual(features, scores, variances)
        process.fit(features, residual, variances, seed=self._random_seed)
        best = float((process.means + self._expected(features)).min())
        waiting = self._waiting()
        if len(waiting) and self._pending_as != "ignore":
            believed = self._encoding.features(waiting)
            expected = self._expected(believed)
            lies = process.predict(believed)[0]
            if self._pending_as == "liar":
                lies = (
                    np.full(
                        len(waiting), scores.min() / (self._prior.unit if self._prior else 1.0)
                    )
                    - expected
                )
            process = process.with_beliefs(believed, lies)
            best = min(best, float((lies + expected).min()))

        def improvement(candidates: Matrix) -> Matrix:
            features = self._encoding.features(candidates)
            mean, deviation = process.predict(features)
            return log_expected_improvement(mean + self._expected(features), deviation, best)

        return self._search(improvement, places, scores, generator)

    def _residual(
        self, features: Matrix, scores: Matrix, variances: Matrix
    ) -> tuple[Matrix, Matrix]:
        """Return the part of the scores that earlier studies do not explain, and its variances."""
        if self._prior is None:
            return scores, variances
        return self._prior.fit(features, scores), variances / self._prior.unit**2

    def _expected(self, features: Matrix) -> Matrix:
        """Return the prior mean from earlier studies, in the residual's unit, shape ``(m,)``."""
        return np.zeros(len(features)) if self._prior is None else self._prior.mean(features)

    def _by_forest(self, kind: Kind, generator: np.random.Generator) -> Matrix | None:
        places, scores, _ = self._observations()
        forest = Forest(kind)
        forest.fit(self._encoding.features(places), scores, seed=int(generator.integers(2**31)))
        kappa = float(generator.exponential())

        def bound(candidates: Matrix) -> Matrix:
            mean, deviation = forest.predict(self._encoding.features(candidates))
            return confidence_bound(mean, deviation, kappa)

        return self._search(bound, places, scores, generator)

    def _search(
        self, acquisition: Any, places: Matrix, scores: Matrix, generator: np.random.Generator
    ) -> Matrix | None:
        good = places[np.argsort(scores, kind="stable")[:NUM_GOOD]]
        return best_place(
            acquisition, self._encoding, taken=self._taken, good=good, generator=generator
        )

    def _observations(self) -> tuple[Matrix, Matrix, Matrix]:
        """Return places, standardised scores (lower is better) and their known variances."""
        sign = 1.0 if self.mode == "min" else -1.0
        places = np.array([self._places[entry.suggestion.id] for entry in self._told])
        raw = np.array(
            [np.nan if entry.score is None else sign * entry.score for entry in self._told]
        )
        scores, unit = standardized(raw)
        variances = np.zeros(len(scores))
        if self._fold_noise:
            errors = [entry.standard_error or 0.0 for entry in self._told]
            variances = np.square(np.minimum(np.array(errors) / unit, LARGEST))
        return places, scores, variances

    def _waiting(self) -> Matrix:
        told = {entry.suggestion.id for entry in self._told}
        waiting = [place for id_, place in self._places.items() if id_ not in told]
        return np.array(waiting).reshape(-1, self.space.dimension)

    def _fall_back(self, surrogate: str, error: Exception) -> None:
        self._warn_once(surrogate, f"{surrogate} failed ({error}); another surrogate takes over.")

    def _warn_once(self, what: str, message: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            logger.warning(message)


def one_thread() -> AbstractContextManager[object]:
    """Return a context in which linear algebra uses one core.

    The other cores belong to the groups. A few hundred observations are too few for several cores,
    and sums in another order would differ.
    """
    limited: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return limited


@cache
def _controller() -> ThreadpoolController:
    """Return the controller of the BLAS libraries; finding them takes milliseconds."""
    return ThreadpoolController()


def standardized(scores: Matrix) -> tuple[Matrix, float]:
    """Return scores with mean 0 and variance 1, bad ones flattened, and their unit.

    Scores are cut at ``REACH`` times the distance from the best to the median, above the median.
    NaN (failed) becomes the worst remaining score.

    Args:
        scores: Lower is better; NaN for failed trials; at least one is finite.

    Returns:
        The scores, and the size of their unit in raw scores.
    """
    scores = np.clip(scores, -LARGEST, LARGEST)
    median, best = float(np.nanmedian(scores)), float(np.nanmin(scores))
    worst = min(float(np.nanmax(scores)), median + REACH * (median - best))
    flat = np.minimum(np.nan_to_num(scores, nan=worst), worst)
    unit = float(flat.std())
    if not unit > 0 or not np.isfinite(unit):
        return np.zeros(len(flat)), 1.0
    return (flat - flat.mean()) / unit, unit

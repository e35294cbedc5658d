"""The genetic searcher: its arguments, and which form it takes."""

import copy
import math
from typing import Any, Literal, Self

import numpy as np

from rayfold.errors import RecipeError
from rayfold.options.arguments import checked
from rayfold.options.fields import Count, Flag, Fraction, Plural, Seed, Share
from rayfold.results import Config
from rayfold.search.base import Observation, Searcher
from rayfold.search.genetic.breeder import Breeder
from rayfold.search.genetic.generational import Generational
from rayfold.search.genetic.operators import Individual
from rayfold.search.genetic.stagnation import Stagnation
from rayfold.search.genetic.steady_state import SteadyState

Update = Literal["generational", "steady_state"]
Preset = Literal["nnlo"]

DEFAULTS: dict[str, Any] = {
    "update": "steady_state",
    "mutation_probability": 0.3,
    "allow_duplicates": False,
    "immigrants": 0.1,
    "restart": False,
    "ageing": True,
}
"""Defaults for arguments set by neither caller nor preset."""

PRESETS: dict[str, dict[str, Any]] = {
    "nnlo": {
        "update": "generational",
        "mutation_probability": 1.0,
        "allow_duplicates": True,
        "immigrants": 0.0,
        "restart": False,
        "ageing": False,
    }
}
"""Arguments by the name of a preset."""

POPULATION = 16
"""Size of the population if neither the caller nor the number of trials sets it."""

FEW = 8
"""Size of the population for 16 to 48 trials; with fewer trials it is half of them."""

GENERATIONS = 8
"""Generations if neither the caller nor the number of trials sets them."""

PATIENCE = 5
"""A search restarts when so many populations of trials brought no better one."""


class Genetic(Searcher):
    """Evolves a population of configurations.

    The first ``population`` suggestions are random. A child has two parents, each the winner of a
    tournament. It is crossed away from the less fit parent and mutated, by less as the search
    advances. A chromosome is a point of the unit cube with one gene per hyperparameter. A child
    inherits only genes that are active in the parent. Failed trials share the lowest fitness. The
    formulas are in ``operators``.

    *Steady state*, the default: there is no barrier. Each call breeds one child of the
    population. The population is the latest ``population`` observed trials, or without ``ageing``
    the fittest ones. Until so many trials are observed, suggestions are random. On tables of real
    trainings this form was ahead of the generational one, even with one trial at a time.

    *Generational*: the fittest of a generation are kept as elites, with their scores and without
    training them again. Children replace the others. They are bred when all results of the
    generation are in; until then ``suggest()`` returns None.

    With ``generations``, both forms suggest the same number of configurations, ``capacity``.
    Without, they never end by themselves. A study fits missing arguments to its number n of
    trials: the population is the larger of ``min(8, n / 2)`` and ``min(16, n / 6)``, and the last
    trials are the last generation.

    If the search starts from earlier studies, their configurations replace random ones of the
    first population.

    Example::

        Genetic(population=20, generations=24)
        Genetic(preset="nnlo", population=50, mutation_probability=0.3)

    Args:
        population: Size of the population, at least 2; None fits it to the study's trials.
        generations: Number of generations (G in the formulas), including the random one, at least
            1. None fits it to the study's trials, and more may follow. Generational: the children
            of generation g, counted from 0, mutate with ``g / G``. Steady state: after n observed
            trials, the next child mutates with ``n / capacity``.
        random_seed: Seed of all random draws, at least 0.
        elite_fraction: Share of a generation that is kept, between 0 and 1: rounded down, at
            least one individual, and never all of them. In steady state it only enters
            ``capacity``.
        update: ``"generational"`` or ``"steady_state"`` (default).
        mutation_probability: Probability that a gene of a child mutates, from 0 to 1; 0.3 by
            default.
        allow_duplicates: Whether a configuration may be suggested twice. If not, a known child is
            bred again, then mutated more strongly, then replaced by a random one. Configurations
            repeat only when none of this finds a new one. Off by default.
        immigrants: Share of the children that are drawn at random, from 0 to 1; 0.1 by default.
        restart: Whether to keep the fittest trial and draw the rest of the population anew after
            5 x ``population`` trials without a better one. Off by default.
        ageing: Only in steady state (regularised evolution), on by default. Whether a new member
            replaces the oldest one instead of the least fit, and tournaments are over a quarter of
            the population instead of two.
        preset: ``"nnlo"``: the original parameters: generational, every gene mutates, duplicates,
            no immigrants, no restart. Arguments beside it override it.

    Raises:
        RecipeError: If an argument is out of range, or ``ageing`` is set for the generational
            form.

    References:
        Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019,
        arXiv 1802.01548 (ageing).
    """

    @checked
    def __init__(
        self,
        *,
        population: Plural | None = None,
        generations: Count | None = None,
        random_seed: Seed = 0,
        elite_fraction: Fraction = 0.2,
        update: Update | None = None,
        mutation_probability: Share | None = None,
        allow_duplicates: Flag | None = None,
        immigrants: Share | None = None,
        restart: Flag | None = None,
        ageing: Flag | None = None,
        preset: Preset | None = None,
    ) -> None:
        self._population, self._generations = population, generations
        self._num_trials: int | None = None
        self._random_seed, self._elite_fraction = random_seed, elite_fraction
        given: dict[str, object] = {
            "update": update,
            "mutation_probability": mutation_probability,
            "allow_duplicates": allow_duplicates,
            "immigrants": immigrants,
            "restart": restart,
            "ageing": ageing,
        }
        self._options = _options(preset, given)

    def fitted(self, num_trials: int) -> Self:
        """Return the searcher with missing arguments fitted to a number of trials."""
        fitted = copy.copy(self)
        fitted._num_trials = num_trials
        return fitted

    @property
    def _size(self) -> int:
        """Individuals in the population."""
        if self._population is not None:
            return self._population
        if self._num_trials is None:
            return POPULATION
        few = min(FEW, self._num_trials // 2)  # smaller ones lost to random search
        return min(POPULATION, max(2, few, self._num_trials // 6))

    @property
    def _num_generations(self) -> int:
        """Number of generations, G in the formulas; enough for the number of trials."""
        if self._generations is not None:
            return self._generations
        if self._num_trials is None:
            return GENERATIONS
        return 1 + math.ceil(
            max(0, self._num_trials - self._size) / (self._size - self.num_elites)
        )

    @property
    def generation(self) -> int:
        """Generation of the latest suggestion, counted from 0.

        In steady state: the generation that a trial with this number has in the generational form.
        """
        if self._space is None or len(self._suggestions) <= self._size:
            return 0
        num_children = len(self._suggestions) - self._size
        return math.ceil(num_children / (self._size - self.num_elites))

    @property
    def num_elites(self) -> int:
        """Number of individuals that are kept for the next generation."""
        share = math.floor(self._elite_fraction * self._size + 1e-9)  # 0.29 * 100 is 28.99...
        return min(max(share, 1), self._size - 1)

    @property
    def capacity(self) -> int | None:
        """Number of configurations that will be suggested; each elite counts once.

        In both forms: ``population`` at first, and ``population - num_elites`` for each further
        generation. None if ``generations`` was not given.
        """
        return None if self._generations is None else self._horizon

    @property
    def _horizon(self) -> int:
        """Suggestions of all generations together; later children mutate the least."""
        return self._size + (self._num_generations - 1) * (self._size - self.num_elites)

    def settings(self) -> dict[str, Any]:
        """Return ``{"genetic": {"population": 16, "generations": 8, ...}}``.

        A preset appears as its arguments; an argument that is fitted to the trials is None.
        """
        return {
            "genetic": {
                "population": self._population,
                "generations": self._generations,
                "random_seed": self._random_seed,
                "elite_fraction": self._elite_fraction,
                **self._options,
            }
        }

    def _begin(self) -> None:
        options = self._options
        self._stagnation = Stagnation(
            patience=PATIENCE * self._size if options["restart"] else math.inf
        )
        self._breeder = Breeder(
            self.space,
            self.mode,
            np.random.default_rng(self._random_seed),
            mutation_probability=options["mutation_probability"],
            allow_duplicates=options["allow_duplicates"],
            immigrants=options["immigrants"],
        )
        self._form: Generational | SteadyState = (
            self._generational() if options["update"] == "generational" else self._steady_state()
        )
        self._training: dict[int, Individual] = {}
        self._failed: dict[int, Individual] = {}

    def _propose(self) -> Config | None:
        individual = self._form.propose()
        if individual is None:
            return None
        self._training[len(self._suggestions)] = individual
        return individual.config

    def _adopt(self, config: Config) -> None:
        self._training[len(self._suggestions)] = self._form.seed(config)

    def _learn(self, observation: Observation) -> None:
        worst = math.inf if self.mode == "min" else -math.inf
        number = observation.suggestion.number
        individual = self._training.pop(number)
        if observation.score is None:
            self._failed[number] = individual
        individual.fitness.values = (worst if observation.score is None else observation.score,)
        self._stagnation.learn(individual, num_made=self._breeder.num_made)
        self._form.learn(individual)

    def _relearn(self, observation: Observation) -> None:
        """Give a failed individual its fitness; if still in the population, it can be a parent."""
        if observation.score is None:
            return
        individual = self._failed.pop(observation.suggestion.number)
        individual.fitness.values = (observation.score,)
        self._stagnation.learn(individual, num_made=self._breeder.num_made)
        self._form.relearn(individual)

    def _steady_state(self) -> SteadyState:
        return SteadyState(
            self._breeder,
            self._stagnation,
            size=self._size,
            horizon=self._horizon,
            ageing=self._options["ageing"],
        )

    def _generational(self) -> Generational:
        return Generational(
            self._breeder,
            self._stagnation,
            size=self._size,
            num_elites=self.num_elites,
            num_generations=self._num_generations,
        )


def _options(preset: Preset | None, given: dict[str, object]) -> dict[str, Any]:
    """Return the arguments, with defaults of the class or the preset."""
    preferred = {} if preset is None else PRESETS[preset]
    explicit = {name: value for name, value in given.items() if value is not None}
    options = {**DEFAULTS, **preferred, **explicit}
    if options["update"] == "generational":
        if explicit.get("ageing"):
            raise RecipeError("ageing needs update steady_state, got update generational.")
        options["ageing"] = False  # nobody grows old: a generation goes all at once
    return options

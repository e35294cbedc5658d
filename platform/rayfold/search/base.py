"""The searcher: proposes configurations and learns from their scores.

A searcher is asked (``suggest``) and told (``observe``), knows nothing of Ray, and never waits:
one that needs results first returns None. It draws all its randomness from one generator of its
own, so that a new searcher that sees the same suggestions asked for and the same observations, in
the same order, arrives at the same state. That is how a study is resumed.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self, get_args

import numpy as np

from rayfold.errors import RecipeError, one_of
from rayfold.options.arguments import checked
from rayfold.options.fields import Flag, Whole
from rayfold.results import Config, Mode
from rayfold.search.opening import Opening
from rayfold.search.past import Past
from rayfold.search.portfolio import portfolio
from rayfold.space import SearchSpace


@dataclass(frozen=True)
class Suggestion:
    """A configuration to try.

    Attributes:
        id: Name of the trial, ``"0000"``, ``"0001"``, ... in the order of suggestion.
        config: The configuration: a value for each active parameter of the space.
    """

    id: str
    config: Config

    @property
    def number(self) -> int:
        """Position in the order of suggestion, counted from 0."""
        return int(self.id)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What became of a suggestion.

    Attributes:
        suggestion: The suggestion.
        score: Mean of the study's metric over the folds, always finite; None if it failed.
        standard_error: Standard error of the score; None if unknown.
        num_folds: How many folds the score is the mean of; None if unknown.
    """

    suggestion: Suggestion
    score: float | None
    standard_error: float | None = None
    num_folds: int | None = None


class Searcher(ABC):
    """Proposes configurations of a space, and learns from the scores that they get.

    To write one, give ``_begin``, ``_propose``, ``_learn`` and ``settings``, and ``capacity`` if
    it ever ends. Have its tests inherit ``rayfold.testing.SearcherContract``.

    A search may start from a past. Then some of the first suggestions are configurations that
    were good before; the searcher is shown them through ``_adopt``, and observes them like its
    own. What else it makes of ``past`` is its own affair.

    Example::

        searcher = Genetic(population=16, generations=8, random_seed=7)
        searcher.start(space, mode="min")
        suggestion = searcher.suggest()
        searcher.observe(suggestion.id, score=0.31, standard_error=0.02, num_folds=5)
    """

    opens_with_past: bool = True
    """Whether the first configurations may come from the past."""

    learns: bool = True
    """Whether what it proposes depends on the scores."""

    configs: tuple[Config, ...] = ()
    """The configurations that it will propose, where they are known before it starts."""

    _space: SearchSpace | None = None
    _mode: Mode = "min"
    _past: Past = Past()

    def fitted(self, num_trials: int) -> Self:
        """Return the searcher for a study of so many trials, before it is started.

        One whose arguments do not depend on that is returned itself. A study that goes on with
        more trials is searched by what was fitted when it began.

        Args:
            num_trials: Trials that the study begins with, at most.
        """
        return self

    def with_seed(self, number: int) -> Self:
        """Return a searcher like this one, not started, that draws other random numbers.

        Args:
            number: Tells the new ones apart; the same number gives the same one.
        """
        ((_, arguments),) = self.settings().items()
        if "random_seed" not in arguments:
            return self
        return type(self)(
            **{**arguments, "random_seed": other_seed(arguments["random_seed"], number)}
        )

    def check(self, space: SearchSpace) -> None:  # noqa: B027
        """Check that it can search a space.

        Raises:
            SpaceError: If a configuration of its own is none of the space.
        """

    def start(self, space: SearchSpace, *, mode: Mode, past: Past | None = None) -> None:
        """Begin a search.

        Args:
            space: Where to search.
            mode: ``"min"`` if a lower score is better, ``"max"`` if a higher one is.
            past: Earlier studies to start from, in this space; None starts cold.

        Raises:
            RecipeError: If ``space`` is none, ``mode`` is neither, the searcher was started
                before, or it takes no past.
            SpaceError: If a configuration of the past is none of the space.
        """
        if self._space is not None:
            raise RecipeError(f"this {self._kind} is started already; make a new one.")
        if not isinstance(space, SearchSpace):
            raise RecipeError(f"space must be a SearchSpace, got {space!r}; make it one.")
        past = past or Past()
        if past.studies and not self.opens_with_past:
            raise RecipeError(f"this {self._kind} takes no past; start it without.")
        past.check(space)
        self._space, self._mode = space, one_of("mode", mode, get_args(Mode))
        self._past = past
        self._opening = Opening(portfolio(past, space), self._mode)
        self._suggestions: dict[str, Suggestion] = {}
        self._observed: set[str] = set()
        self._retried: set[str] = set()
        self._best: tuple[Suggestion, float] | None = None
        try:
            self._begin()
        except RecipeError:
            self._space = None
            raise

    def suggest(self) -> Suggestion | None:
        """Return the next configuration to try.

        Returns:
            The suggestion; None if results must come in first, or if ``finished``.

        Raises:
            RecipeError: If the searcher is not started.
        """
        self._require_start()
        if self.finished:
            return None
        if (entry := self._opening.due) is not None:
            return self._open(entry.config)
        config = self._propose()
        return None if config is None else self._enter_own(config)

    def restore(self, config: Config) -> Suggestion:
        """Take up a suggestion of an earlier run of the same search, instead of making one.

        Args:
            config: What that run's searcher suggested next.

        Raises:
            RecipeError: If this searcher does not suggest it, or is not started.
        """
        self._require_start()
        if not self.finished:
            if (entry := self._opening.due) is None:
                if self._recall(config):
                    return self._enter_own(config)
            elif dict(entry.config) == dict(config):
                return self._open(entry.config)
        raise RecipeError(f"this {self._kind} does not suggest {dict(config)} next.")

    @checked
    def observe(
        self,
        id: str,
        *,
        score: float | None = None,
        standard_error: float | None = None,
        num_folds: Whole | None = None,
        failed: Flag = False,
    ) -> None:
        """Tell what became of a suggestion; in any order, once each.

        Args:
            id: The suggestion's.
            score: Its score. NaN and infinity count as failed.
            standard_error: Standard error of the score, if known; NaN and infinity are not.
            num_folds: How many folds the score is the mean of, if known.
            failed: It got no score; ``score`` is then ignored.

        Raises:
            RecipeError: If the suggestion is unknown or was observed before, there is neither a
                score nor ``failed=True``, another value is none, or the searcher is not started.
        """
        self._require_start()
        suggestion = self._suggestions.get(id) if isinstance(id, str) else None
        if suggestion is None:
            raise RecipeError(f"no suggestion has the id {id!r}; observe what suggest() returned.")
        if id in self._observed:
            raise RecipeError(f"the suggestion {id!r} is observed already; observe each once.")
        if not failed and not _is_number(score):
            raise RecipeError(
                f"the suggestion {id!r} needs a number as score, or failed=True, got {score!r}."
            )
        if standard_error is not None and (not _is_number(standard_error) or standard_error < 0):
            raise RecipeError(
                f"standard_error must be a number of at least 0 or None, got {standard_error!r}."
            )
        observation = Observation(
            suggestion=suggestion,
            score=None if failed else _finite(score),
            standard_error=_finite(standard_error),
            num_folds=num_folds,
        )
        self._observed.add(id)
        self._keep_best(observation)
        again = id in self._retried
        self._opening.learn(
            id, observation.score, standard_error=observation.standard_error, again=again
        )
        if again:
            self._relearn(observation)
        else:
            self._learn(observation)

    def reopen(self, id: str) -> None:
        """Tell that a suggestion that failed is tried again: it is observed once more.

        Raises:
            RecipeError: If it was not observed before, or the searcher is not started.
        """
        self._require_start()
        if id not in self._observed:
            raise RecipeError(f"the suggestion {id!r} has no result yet; nothing is to be redone.")
        self._observed.remove(id)
        self._retried.add(id)

    @property
    def finished(self) -> bool:
        """Whether no more will ever be suggested; results may still be outstanding."""
        if self._space is None or self.capacity is None:
            return False
        return len(self._suggestions) >= self.capacity

    @property
    def capacity(self) -> int | None:
        """How many configurations will be suggested in all; None: as many as are asked for."""
        return None

    @property
    def best(self) -> tuple[Suggestion, float] | None:
        """The suggestion with the best score so far, and that score; None before the first.

        Of equal scores the earliest suggestion counts.
        """
        return None if self._space is None else self._best

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the searcher as a recipe names it: ``{"genetic": {"population": 16, ...}}``."""

    @property
    def past(self) -> Past:
        """What the search started from."""
        return self._past

    @property
    def space(self) -> SearchSpace:
        """The space that is searched.

        Raises:
            RecipeError: If the searcher is not started.
        """
        return self._require_start()

    @property
    def mode(self) -> Mode:
        """Whether lower scores are better, ``"min"``, or higher ones, ``"max"``."""
        return self._mode

    @abstractmethod
    def _begin(self) -> None:
        """Set up what a search needs; ``space`` and ``mode`` are known."""

    @abstractmethod
    def _propose(self) -> Config | None:
        """Return the next configuration; None if results must come in first."""

    def _recall(self, config: Config) -> bool:
        """Propose what an earlier run proposed; tell whether that is ``config``.

        One for which proposing is costly takes ``config`` for granted instead.
        """
        proposed = self._propose()
        return proposed is not None and dict(proposed) == dict(config)

    def _adopt(self, config: Config) -> None:  # noqa: B027  # most need not note it
        """Take note that the next suggestion is a configuration of the past, none of its own.

        By default that is only seen when it is observed.
        """

    @abstractmethod
    def _learn(self, observation: Observation) -> None:
        """Take in what became of a suggestion, each one once."""

    def _relearn(self, observation: Observation) -> None:  # noqa: B027  # most keep nothing
        """Take in what became of a suggestion that had failed before; by default nothing."""

    def _open(self, config: Config) -> Suggestion:
        """Suggest the configuration of the past that is due."""
        self._adopt(config)
        suggestion = self._enter(config)
        self._opening.try_due(suggestion.id)
        return suggestion

    def _enter_own(self, config: Config) -> Suggestion:
        self._opening.note_own(config)
        return self._enter(config)

    def _enter(self, config: Config) -> Suggestion:
        suggestion = Suggestion(f"{len(self._suggestions):04d}", config)
        self._suggestions[suggestion.id] = suggestion
        return suggestion

    def _require_start(self) -> SearchSpace:
        if self._space is None:
            raise RecipeError(
                f"this {self._kind} is not started; call start(space, mode=...) first."
            )
        return self._space

    @property
    def _kind(self) -> str:
        return type(self).__name__

    def _keep_best(self, observation: Observation) -> None:
        suggestion, score = observation.suggestion, observation.score
        if score is None:
            return
        if self._best is None:
            better = True
        elif score == self._best[1]:
            better = suggestion.number < self._best[0].number
        else:
            better = (score < self._best[1]) == (self._mode == "min")
        if better:
            self._best = suggestion, score


def other_seed(random_seed: int, number: int) -> int:
    """Return another seed, the same for the same two numbers."""
    (seed,) = np.random.SeedSequence([random_seed, number]).generate_state(1)
    return int(seed)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _finite(value: float | None) -> float | None:
    """Return a number as Python's own; None if it is not finite, or beyond all floats."""
    try:
        return None if value is None or not math.isfinite(value) else float(value)
    except OverflowError:
        return None

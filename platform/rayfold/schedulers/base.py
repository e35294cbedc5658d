"""The scheduler: decides after each fold or epoch whether a trial goes on.

A scheduler is told what trials have reached (``report``) and how they ended (``finished``), and
knows nothing of Ray. It draws no random numbers and reads no clock, so that a new scheduler that
hears the same, in the same order, arrives at the same state. That is how a study is resumed.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from rayfold.errors import RecipeError, one_of
from rayfold.orders import FoldOrder
from rayfold.results import Config, Mode, Status, ValueChange
from rayfold.space import SearchSpace

Decision: TypeAlias = Literal["go on", "stop"]
"""What becomes of a trial that has reported."""


class Scheduler(ABC):
    """Decides, from what the folds have scored so far, which trials are worth going on with.

    To write one, give ``_begin``, ``_decide``, ``_end`` and ``settings``, and set ``fold_order``.
    Have its tests inherit ``rayfold.testing.SchedulerContract``.

    Attributes:
        fold_order: The order of folds that it needs; None: any. With ``"in_turn"`` it hears of
            each fold that is complete, with ``"together"`` of each epoch of all folds.
        trains_side_by_side: Whether it compares all trials while all of them train, so that a
            searcher has no results to learn from.
        changes_values: Whether it changes hyperparameters of trials while they train, which then
            take turns.
        runs_in_tune: Whether a scheduler of Ray Tune does the work, which cannot tell the trials
            of several studies in one pool apart.

    Example::

        scheduler = Racing()
        scheduler.start(mode="min", num_folds=5, epochs=10)
        if scheduler.report("0007", {0: 0.31, 1: 0.35}, epoch=10) == "stop":
            scheduler.finished("0007", "stopped")
    """

    fold_order: ClassVar[FoldOrder | None]
    trains_side_by_side: ClassVar[bool] = False
    changes_values: ClassVar[bool] = False
    runs_in_tune: ClassVar[bool] = False

    _num_folds: int | None = None

    def start(self, *, mode: Mode, num_folds: int, epochs: int, repeats: int = 1) -> None:
        """Begin a study.

        Args:
            mode: ``"min"`` if a lower score is better, ``"max"`` if a higher one is.
            num_folds: Folds of each trial, those of all repeats together.
            epochs: Epochs of each fold.
            repeats: How often the rows are cut into folds.

        Raises:
            RecipeError: If ``mode`` is neither, or the scheduler was started before.
        """
        if self._num_folds is not None:
            raise RecipeError(f"this {self._kind} is started already; make a new one.")
        self._mode: Mode = one_of("mode", mode, get_args(Mode))
        self._epochs, self._repeats = epochs, repeats
        self._num_folds = num_folds
        self._ended: set[str] = set()
        self._begin()

    def report(self, trial: str, scores: Mapping[int, float], *, epoch: int) -> Decision:
        """Tell what a trial has reached; the same again (after a crash) changes nothing.

        Args:
            trial: Its id.
            scores: Score of each fold that has trained ``epoch`` epochs, after that epoch; always
                finite.
            epoch: That number of epochs, counted from 1.

        Returns:
            Whether the trial goes on. A scheduler only advises: the trial may report again.

        Raises:
            RecipeError: If the trial has ended, there is no score, or the scheduler is not
                started.
        """
        self._require_start()
        if trial in self._ended:
            raise RecipeError(f"trial {trial!r} has ended already; it cannot report any more.")
        if not scores:
            raise RecipeError(f"trial {trial!r} reports no score; report at least one fold.")
        return self._decide(trial, dict(scores), epoch)

    def finished(self, trial: str, status: Status) -> None:
        """Tell how a trial ended, once each; one that never reported may end, too.

        Raises:
            RecipeError: If it has ended before, or the scheduler is not started.
        """
        self._require_start()
        if trial in self._ended:
            raise RecipeError(f"trial {trial!r} has ended already; each ends once.")
        self._ended.add(trial)
        self._end(trial, status)

    def reopen(self, trial: str) -> None:
        """Tell that a trial that failed is tried again: it reports and ends once more.

        Raises:
            RecipeError: If it has not ended, or the scheduler is not started.
        """
        self._require_start()
        if trial not in self._ended:
            raise RecipeError(f"trial {trial!r} has not ended; it cannot be tried again.")
        self._ended.remove(trial)
        self._reopen(trial)

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the scheduler as a recipe names it: ``{"racing": {"top": 0.1, ...}}``."""

    @property
    def milestones(self) -> tuple[int, ...]:
        """Epochs after which all folds of a trial write their state, and trials take turns."""
        return ()

    def check(self, space: SearchSpace, configs: Sequence[Config]) -> None:  # noqa: B027
        """Check that it suits a search.

        Args:
            space: What is searched.
            configs: The configurations that will be tried; empty where they are not known.

        Raises:
            RecipeError: If it does not; the message says why.
            SpaceError: If a configuration of its own is none of the space.
        """

    def value_changes(self, space: SearchSpace) -> Iterator[ValueChange]:
        """Yield the changes that a model in training may meet with, or the widest of these."""
        return iter(())

    @property
    def configs(self) -> tuple[Config, ...]:
        """The configurations that it needs the trials to begin with; none: any will do."""
        return ()

    @property
    def mode(self) -> Mode:
        """Whether lower scores are better, ``"min"``, or higher ones, ``"max"``."""
        return self._mode

    @property
    def num_folds(self) -> int:
        """Folds of each trial.

        Raises:
            RecipeError: If the scheduler is not started.
        """
        return self._require_start()

    @property
    def epochs(self) -> int:
        """Epochs of each fold."""
        return self._epochs

    @property
    def repeats(self) -> int:
        """How often the rows are cut into folds."""
        return self._repeats

    @abstractmethod
    def _begin(self) -> None:
        """Set up what a study needs; ``mode``, ``num_folds`` and ``epochs`` are known."""

    @abstractmethod
    def _decide(self, trial: str, scores: dict[int, float], epoch: int) -> Decision:
        """Take in what a trial has reached, and decide; the same again changes nothing."""

    @abstractmethod
    def _end(self, trial: str, status: Status) -> None:
        """Take in how a trial ended."""

    def _reopen(self, trial: str) -> None:  # noqa: B027  # most keep nothing of it
        """Forget what a trial that is tried again has scored."""

    def _is_worse(self, score: float, than: float) -> bool:
        return score > than if self.mode == "min" else score < than

    def _require_start(self) -> int:
        if self._num_folds is None:
            raise RecipeError(f"this {self._kind} is not started; call start(mode=...) first.")
        return self._num_folds

    @property
    def _kind(self) -> str:
        return type(self).__name__

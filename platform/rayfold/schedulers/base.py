"""The scheduler: decides after each fold or epoch whether a trial continues.

A scheduler hears of the scores of trials (``report``) and of their ends (``finished``). It does
not use Ray, draws no random numbers and reads no clock. So a new scheduler that gets the same
calls in the same order arrives at the same state. This is how a study resumes.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from rayfold.errors import RecipeError, one_of
from rayfold.jobs import FoldOrder
from rayfold.results import Config, Mode, Status, ValueChange
from rayfold.space import SearchSpace

Decision: TypeAlias = Literal["go on", "stop"]
"""The decision on a trial that has reported."""


class Scheduler(ABC):
    """Decides from the scores of the folds so far which trials continue.

    To write one, implement ``_begin``, ``_decide``, ``_end`` and ``settings``, and set
    ``fold_order`` if it needs one. Let its tests inherit ``rayfold.testing.SchedulerContract``.

    Attributes:
        fold_order: The order of folds that it needs; None: any. With ``"in_turn"`` it hears of
            each complete fold, with ``"together"`` of each epoch of all folds.
        trains_side_by_side: Whether all trials train at the same time and are compared, so that a
            searcher has no results to learn from.
        changes_values: Whether it changes hyperparameters of trials while they train. Such trials
            take turns.
        runs_in_tune: Whether a scheduler of Ray Tune does the work. It cannot distinguish the
            trials of several studies in one pool.

    Example::

        scheduler = Racing()
        scheduler.start(mode="min", num_folds=5, epochs=10)
        if scheduler.report("0007", {0: 0.31, 1: 0.35}, epoch=10) == "stop":
            scheduler.finished("0007", "stopped")
    """

    fold_order: ClassVar[FoldOrder | None] = None
    trains_side_by_side: ClassVar[bool] = False
    changes_values: ClassVar[bool] = False
    runs_in_tune: ClassVar[bool] = False

    _num_folds: int | None = None

    def __init_subclass__(cls) -> None:
        """Refuse a wrong ``fold_order``: trials would wait for ever."""
        super().__init_subclass__()
        if cls.fold_order is not None:
            one_of("fold_order", cls.fold_order, get_args(FoldOrder))

    def start(self, *, mode: Mode, num_folds: int, epochs: int, repeats: int = 1) -> None:
        """Begin a study.

        Args:
            mode: ``"min"`` if a lower score is better, ``"max"`` if a higher one is.
            num_folds: Folds of each trial, over all repeats.
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
        """Report scores of a trial; the same report again (after a crash) changes nothing.

        Args:
            trial: Id of the trial.
            scores: Score after ``epoch`` epochs of each fold that has trained so many; always
                finite.
            epoch: Number of epochs, counted from 1.

        Returns:
            Whether the trial continues. A scheduler only advises: the trial may report again.

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
        """Report how a trial ended, once each; a trial that never reported may end, too.

        Raises:
            RecipeError: If it has ended before, or the scheduler is not started.
        """
        self._require_start()
        if trial in self._ended:
            raise RecipeError(f"trial {trial!r} has ended already; each ends once.")
        self._ended.add(trial)
        self._end(trial, status)

    def reopen(self, trial: str) -> None:
        """Announce another try of a failed trial, which then reports and ends once more.

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
        """Epochs after which all folds of a trial write their states and trials take turns."""
        return ()

    def check(self, space: SearchSpace, configs: Sequence[Config]) -> None:  # noqa: B027
        """Check that it suits a search.

        Args:
            space: The search space.
            configs: The configurations that will be tried; empty if they are not known.

        Raises:
            RecipeError: If it does not; the message says why.
            SpaceError: If one of its own configurations does not belong to the space.
        """

    def value_changes(self, space: SearchSpace) -> Iterator[ValueChange]:
        """Yield the changes that may happen to a model in training, or the widest of them."""
        return iter(())

    @property
    def configs(self) -> tuple[Config, ...]:
        """The configurations that the trials must begin with; empty: any."""
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
        """Prepare a study; ``mode``, ``num_folds`` and ``epochs`` are known."""

    @abstractmethod
    def _decide(self, trial: str, scores: dict[int, float], epoch: int) -> Decision:
        """Learn scores of a trial and decide; the same report again changes nothing."""

    @abstractmethod
    def _end(self, trial: str, status: Status) -> None:
        """Learn how a trial ended."""

    def _reopen(self, trial: str) -> None:  # noqa: B027  # most keep nothing of it
        """Forget the scores of a trial that is tried again."""

    def _is_worse(self, score: float, than: float) -> bool:
        return score > than if self.mode == "min" else score < than

    def _require_start(self) -> int:
        if self._num_folds is None:
            raise RecipeError(f"this {self._kind} is not started; call start(mode=...) first.")
        return self._num_folds

    @property
    def _kind(self) -> str:
        return type(self).__name__

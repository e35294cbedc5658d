"""The class ``Study``: it is made, planned and run."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self

from rayfold.acceptance import Acceptance
from rayfold.data import DataSet, FoldPlan
from rayfold.events import FoldTrained
from rayfold.groups.plan import Plan
from rayfold.recipe import Recipe
from rayfold.results import shortened
from rayfold.space.coverage import count_searched
from rayfold.specification import Specification
from rayfold.study.data_notes import data_warnings, input_lines
from rayfold.study.opened import Call
from rayfold.study.opening import has_begun
from rayfold.study.preparation import Preparation
from rayfold.study.result import StudyResult
from rayfold.study.run import Run
from rayfold.tracking import check_store, tracking_uri

logger = logging.getLogger(__name__)

Options = ParamSpec("Options")


def _takes(
    specification: Callable[Options, Specification],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, Options], None]]:
    """Give a constructor the arguments of a specification, also for editors and type checkers."""

    def decorate(construct: Callable[..., None]) -> Callable[Concatenate[Any, Options], None]:
        known = signature(specification)
        itself = Parameter("self", Parameter.POSITIONAL_ONLY)
        construct.__signature__ = known.replace(  # type: ignore[attr-defined]
            parameters=[itself, *known.parameters.values()]
        )
        construct.__doc__ = specification.__doc__
        return construct

    return decorate


class Study:
    """One search over one data set, resumable at any moment.

    Its arguments are the options of a ``Specification``.

    Attributes:
        specification: The options.
        preparation: Everything that follows from them: data, folds, the studies of the parts.

    Raises:
        RecipeError: If an option is wrong; the message names it.

    Example::

        study = rf.Study("digits", model="cnn", data=rf.HDF5("digits.h5"), epochs=10)
        result = study.run(num_trials=20)
    """

    @_takes(Specification)
    def __init__(self, *args: Any, **options: Any) -> None:
        self.specification = Specification(*args, **options)
        self.preparation = Preparation(self.specification)

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Self:
        """Return the study of a recipe; relative paths start at the recipe's folder."""
        study = cls.__new__(cls)
        study.specification = recipe.specification
        study.preparation = Preparation(study.specification)
        return study

    def __repr__(self) -> str:
        """Return the study in one line, without reading the data."""
        options = self.specification
        searcher = next(iter(options.searcher.settings()))
        number = count_searched(options.space)
        return (
            f"<Study {self.name!r}: {shortened(self.preparation.model.reference, 50)} by "
            f"{searcher}, {number} hyperparameter{'' if number == 1 else 's'}, "
            f"{options.folds.total} folds x {options.epochs} epochs>"
        )

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.specification.name

    @property
    def accept(self) -> Sequence[Acceptance]:
        """The criteria that the best trial must meet."""
        return self.specification.accept

    @property
    def storage(self) -> Path:
        """Folder of all studies."""
        return self.preparation.storage

    @property
    def folder(self) -> Path:
        """Folder of the study's journal and trials."""
        return self.preparation.folder.path

    @property
    def dataset(self) -> DataSet:
        """The data, read and checked on first use."""
        return self.preparation.data

    @property
    def fold_plan(self) -> FoldPlan:
        """The folds, cut on first use."""
        return self.preparation.fold_plan

    def plan(self, num_trials: int | None = None) -> Plan:
        """Check everything that can be checked without a run, and say what would run.

        Args:
            num_trials: Largest number of trials; None takes the study's own number.

        Raises:
            RecipeError: If an option is wrong, or differs from when the study began.
            SpaceError: If a given configuration does not belong to the space.
            DataError: If the data cannot be read, or hold too few rows for the folds.
            ModelError: If the model fails at an end of the space; see ``study.dry_run``.
        """
        asked = self._asked(num_trials=num_trials)
        plan, tried = self._checked_plan(asked.limit()), self.preparation.dry_run()
        return replace(
            plan,
            model=(tried.line(self.preparation.model_class.__name__),),
            warnings=(*plan.warnings, *tried.warnings),
        )

    def run(
        self,
        num_trials: int | None = None,
        *,
        max_time: float | None = None,
        address: str | None = None,
        show_progress: bool = True,
        accept_changed_code: bool = False,
        retry_failed: bool = False,
    ) -> StudyResult:
        """Run the study, or resume it.

        Ctrl-C once: folds in training write a checkpoint, and the result so far is returned.
        Twice: the process ends at once; nothing that is finished is lost.

        Args:
            num_trials: Largest number of trials, including those of earlier runs; None takes the
                study's own number, that of its searcher, or 50.
            max_time: Seconds after which the run ends in order: no new trials, and folds in
                training write a checkpoint after their epoch. Run it again to continue for the
                same time. None takes the study's own limit.
            address: Address of a Ray cluster; None takes ``$RAY_ADDRESS``, else starts Ray here.
            show_progress: Whether to show a live table.
            accept_changed_code: Resume although the model's code has changed. Completed and
                stopped trials stay; all others begin anew with the new code.
            retry_failed: Run failed trials again; they keep their finished folds. Failed trials of
                other code are always run again.

        Raises:
            RecipeError: If an option is wrong, or differs from when the study began.
            DataError: If the data are wrong.
            ResourcesError: If no cluster answers, or it cannot hold a single group.
            JournalError: If another process runs the study, or its journal is damaged.
            TrackingError: If MLflow's store is a file that is no database.
            SuspendedError: If a fault of the machine or of Ray lasts; run it again to resume.
        """
        from rayfold.groups.cluster import check_reachable  # Ray, which plan() does without

        asked = self._asked(num_trials=num_trials, max_time=max_time)
        limit, seconds = asked.limit(), asked.max_time
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        self._checked_plan(limit, accept_changed_code)
        for source in self.preparation.sources:
            source.check_travels()
        check_store(tracking_uri(self.storage))
        call = Call(
            address=address,
            deadline=deadline,
            show_progress=show_progress,
            accept_changed_code=accept_changed_code,
            retry_failed=retry_failed,
        )
        check_reachable(address)
        self._tell_assumptions()
        self._try_model(anew=accept_changed_code or retry_failed)
        return Run(self.preparation, call).carry_out(limit)

    def _checked_plan(self, num_trials: int, accept_changed_code: bool = False) -> Plan:
        """Return the plan for so many trials at most, without a try of the model."""
        study = self.preparation
        study.check()
        entries = study.entries()
        begun = has_begun(study, entries, accept_changed_code=accept_changed_code)
        return study.plan(entries, num_trials, begun=begun)

    def _asked(self, **options: float | None) -> Specification:
        """Return the options of a call: those that it names, else the study's own."""
        given = {name: value for name, value in options.items() if value is not None}
        return replace(self.specification, **given)  # type: ignore[arg-type]

    def _tell_assumptions(self) -> None:
        """Log how the data are understood, and warn of likely mistakes."""
        for line in input_lines(self.dataset):
            logger.info("%s", line)
        for warning in data_warnings(self.dataset, self.preparation.model_class):
            logger.warning("%s", warning)

    def _try_model(self, *, anew: bool) -> None:
        """Try the model before anything starts, unless it has already trained a fold.

        Args:
            anew: Try it in any case, because it may have changed.

        Raises:
            ModelError: If it fails.
        """
        if anew or not any(
            entry.event == FoldTrained.event for entry in self.preparation.entries()
        ):
            for warning in self.preparation.dry_run().warnings:
                logger.warning("%s", warning)

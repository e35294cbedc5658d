"""The facade: what a study is, and how it begins, goes on and ends."""

import copy
import logging
import math
import os
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from torch import nn

from rayfold import schedulers, search
from rayfold.data import (
    HDF5,
    DataSet,
    FoldPlan,
    Folds,
    SeenRows,
    SubProblem,
    SubProblems,
    load,
)
from rayfold.errors import JournalError, RecipeError, SuspendedError, one_of
from rayfold.groups.plan import Groups, PartPlan, Plan
from rayfold.journal import Entry, Journal, read_journal
from rayfold.library import model_source, resolve_model, resolve_space
from rayfold.machine import machine_fault
from rayfold.orders import FoldOrder
from rayfold.recipe import (
    DEFAULT_EPOCHS,
    DEFAULT_NUM_TRIALS,
    Acceptance,
    Recipe,
    check_study_name,
)
from rayfold.report import create_progress
from rayfold.results import MAX_SEED, Config, Mode, TrialResult, shortened
from rayfold.schedulers import Population, Replay, Scheduler
from rayfold.search import Fixed, Searcher
from rayfold.search.base import whole_number
from rayfold.space import SearchSpace, plain_parameters
from rayfold.space.coverage import MAX_CONFIGS, end_configurations
from rayfold.storage import storage_folder
from rayfold.study.arguments import (
    check_initial_weights,
    check_limit,
    check_order,
    check_replay,
    check_seconds,
    check_start,
    check_sub_problems,
    check_turns,
    own_scheduler,
    own_searcher,
    scheduler_settings,
)
from rayfold.study.data_notes import data_warnings, input_lines
from rayfold.study.description import (
    check_same,
    describe_data_set,
    describe_environment,
    describe_training,
)
from rayfold.study.dry_run import DryRun, dry_run
from rayfold.study.head_start import HeadStart
from rayfold.study.opened import Call, OpenStudy
from rayfold.study.recorded_code import check_code, done_so_far, keep_text, note_code
from rayfold.study.result import StudyResult
from rayfold.tracking import SEEN_ROWS, Uploader, check_store, tracking_uri
from rayfold.training import Settings, StudySetup
from rayfold.training.changes import check_schedule_keeps_shapes, check_shapes_stay
from rayfold.training.hyperparameters import check_hyperparameters
from rayfold.training.losses import check_loss
from rayfold.training.metrics import (
    check_defined,
    check_metrics,
    check_mode,
    metric_mode,
    scored_names,
)
from rayfold.training.warm_start import WarmStart
from rayfold.transfer import (
    ColdStarts,
    InitialWeights,
    Start,
    describe_data,
)
from rayfold.tuning.ledger import Ledger
from rayfold.tuning.states import start_anew
from rayfold.user_code import CodeRecord

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import Searcher as TuneSearcher

logger = logging.getLogger(__name__)

UPLOAD_SECONDS = 120.0
"""How long the end of a study waits for MLflow before it leaves the rest to the next run."""

NUM_TRIALS = "num_trials"
"""Field of a study's description: trials that it began with, which its searcher is fitted to."""

SUSPENDED_UPLOAD_SECONDS = 5.0
"""The same after a fault of the machine, which may be MLflow's, too."""

FEW_ROWS = 1000
"""Below so many development rows, the plan advises to cut them into folds more than once."""


class Study:
    """One search over one data set, resumable at any moment.

    Args:
        name: Names the study's folder in the storage, and its runs in MLflow.
        model: A name of the library (``"cnn"``), a reference (``"package.module:Net"``,
            ``"./net.py:Net"``) or the class itself.
        data: Where the data lie.
        space: What is searched; None takes the search space of the library's model.
        searcher: Proposes the trials; None takes ``search.Genetic()``, and ``search.Random()`` for
            the first values of a population. Any searcher of Ray Tune will do, see
            ``tuning.foreign``.
        folds: How each trial is cross-validated; a number alone is that of the folds.
        epochs: Epochs of each fold.
        loss: Name of the loss; None takes the task's default.
        metrics: Names of the metrics; none takes the task's default.
        metric: What the study searches for, ``"val_loss"`` or ``"val_"`` + one of ``metrics``.
        mode: Whether a small or a large metric is good; None knows it from the metric.
        parameters: Hyperparameters that are not searched, dotted name to value.
        start_from: Earlier studies in MLflow, by name or id, whose completed trials the searcher
            starts from; ``"similar"`` takes those of the most similar data. What was taken is in
            the journal: a study that goes on does not ask MLflow again.
        rename: What parameters of the past are called in this space, old name to new.
        prune_space: Whether to search only the box around what was good in the past.
        initial_weights: Earlier studies in MLflow, by name or id, or ``InitialWeights(...)``: four
            of five trials begin with their best fold models, where names and shapes of tensors
            match. What was taken is copied into the study's folder.
        sub_problems: Cuts the rows into parts; studies of their own on each, ``NAME.PART``, run
            first, in one pool. This one then starts from their trials, unless ``start_from`` says
            otherwise. None: there are none.
        scheduler: Ends weak trials early, such as ``schedulers.Racing()``; None trains all folds
            of every trial. Any scheduler of Ray Tune will do.
        max_time_per_trial: Seconds of training after which a trial ends as stopped, with what it
            has after its present epoch; None sets no limit.
        fold_order: ``"in_turn"`` or ``"together"``, see ``tuning.TrialRunner``.
        groups: The worker groups.
        random_seed: Seed of every fold's initial weights, batches and dropout.
        accept: What the best trial must reach, for ``rayfold run``'s exit status.
        storage: Folder of all studies; None takes ``$RAYFOLD_STORAGE`` or ``./rayfold-store``.
        checkpoint_seconds: Seconds between two checkpoints of a fold in training.
        base: Folder that relative references to models and spaces start from.

    Raises:
        RecipeError: If an argument is wrong; the message names it.
        DataError: If the data source is wrong.
    """

    def __init__(
        self,
        name: str,
        *,
        model: str | type[nn.Module],
        data: HDF5,
        space: SearchSpace | Mapping[str, Any] | str | Path | None = None,
        searcher: "Searcher | TuneSearcher | None" = None,
        scheduler: "Scheduler | TrialScheduler | None" = None,
        max_time_per_trial: float | None = None,
        folds: Folds | int | None = None,
        epochs: int = DEFAULT_EPOCHS,
        loss: str | None = None,
        metrics: Sequence[str] = (),
        metric: str = "val_loss",
        mode: Mode | None = None,
        parameters: Mapping[str, Any] | None = None,
        start_from: str | Sequence[str] | None = None,
        rename: Mapping[str, str] | None = None,
        prune_space: bool = False,
        initial_weights: InitialWeights | str | Sequence[str] | None = None,
        sub_problems: SubProblems | None = None,
        fold_order: FoldOrder = "in_turn",
        groups: Groups | None = None,
        random_seed: int = 0,
        accept: Sequence[Acceptance] = (),
        storage: str | Path | None = None,
        checkpoint_seconds: float = 30.0,
        base: str | Path | None = None,
    ) -> None:
        check_study_name(name)
        base = Path(base) if base is not None else Path.cwd()
        if space is None:
            if not isinstance(model, str) or ":" in model:
                raise RecipeError("space is missing; say what is to be searched.")
            space = model
        epochs = whole_number("epochs", epochs, at_least=1)
        self.name = name
        self.space = resolve_space(space, base=base)
        self.folds = Folds(folds) if isinstance(folds, int) else folds or Folds()
        self.groups = groups or Groups()
        self.storage = storage_folder(storage)
        self._model = model_source(model, base=base)
        self._model_class = resolve_model(self._model)
        self._code = CodeRecord.of(self._model)
        self._data = data
        self._dataset: DataSet | None = None
        self._scheduler, self._tune_scheduler = own_scheduler(scheduler)
        if searcher is None and isinstance(self._scheduler, Population):
            searcher = search.Random(random_seed=random_seed)
        self._searcher = own_searcher(searcher)
        self._start_from = check_start(start_from, rename, prune_space, self._searcher, self.space)
        self._initial_weights = check_initial_weights(initial_weights, epochs)
        self._head_start_found: HeadStart | None = None
        self._sub_problems = check_sub_problems(
            sub_problems, self._scheduler, self._tune_scheduler
        )
        self._sub_studies: tuple[Study, ...] | None = None
        self._part: SubProblem | None = None
        self._whole: str | None = None
        self._fold_plan: FoldPlan | None = None
        self._max_time_per_trial = check_limit("max_time_per_trial", max_time_per_trial)
        self._epochs, self._loss, self._metrics = epochs, loss, tuple(metrics)
        self._metric, self._parameters = metric, plain_parameters(parameters or {})
        self._mode = None if mode is None else one_of("mode", mode, get_args(Mode))
        self._fold_order = one_of("fold_order", fold_order, get_args(FoldOrder))
        self._random_seed = whole_number("random_seed", random_seed, at_least=0, at_most=MAX_SEED)
        self._checkpoint_seconds = check_seconds(
            "checkpoint_seconds", checkpoint_seconds, zero=True
        )
        self.accept = tuple(accept)
        self._descriptors: dict[str, float] | None = None
        self._num_trials: int | None = None
        self._max_time: float | None = None

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Self:
        """Build the study that a recipe describes; relative paths start at its folder."""
        fixed, base = recipe.fixed, recipe.base
        study = cls(
            recipe.study,
            model=fixed.model,
            data=fixed.data.source(base),
            space=recipe.search.space,
            searcher=(
                search.create(*recipe.search.searcher_call)
                if recipe.search.searcher_call
                else None
            ),
            scheduler=(
                schedulers.create(*recipe.search.scheduler_call)
                if recipe.search.scheduler_call
                else None
            ),
            max_time_per_trial=recipe.search.max_time_per_trial,
            folds=Folds(
                fixed.folds.count,
                random_seed=fixed.folds.random_seed,
                kind=fixed.folds.kind,
                repeats=fixed.folds.repeats,
            ),
            epochs=fixed.epochs,
            loss=fixed.loss,
            metrics=fixed.metrics,
            metric=recipe.search.metric,
            mode=recipe.search.mode,
            parameters=fixed.parameters,
            start_from=recipe.search.start_from,
            rename=recipe.search.rename,
            prune_space=recipe.search.prune_space,
            initial_weights=(
                InitialWeights(**fixed.initial_weights.model_dump())
                if fixed.initial_weights
                else None
            ),
            sub_problems=(
                recipe.search.sub_problems.request(base) if recipe.search.sub_problems else None
            ),
            fold_order=fixed.folds.order,
            groups=Groups(**recipe.resources.groups.model_dump()),
            random_seed=fixed.random_seed,
            accept=recipe.accept,
            storage=recipe.resources.storage,
            base=base,
        )
        study._num_trials = recipe.search.num_trials
        study._max_time = recipe.search.max_time
        return study

    def __repr__(self) -> str:
        """Return what it is in a line; the data are not read for it."""
        searcher = next(iter(self._searcher.settings()))
        return (
            f"<Study {self.name!r}: {shortened(self._model.reference, 50)} by {searcher}, "
            f"{len(self.space)} hyperparameters, {self.folds.total} folds x {self._epochs} epochs>"
        )

    @property
    def folder(self) -> Path:
        """Where the study keeps its journal and its trials."""
        return self.storage / self.name

    @property
    def dataset(self) -> DataSet:
        """The data, read and checked on first use."""
        if self._dataset is None:
            self._dataset = load(self._data)
        return self._dataset

    @property
    def fold_plan(self) -> FoldPlan:
        """The folds, cut on first use.

        Raises:
            DataError: If the data hold too few rows for them.
        """
        if self._fold_plan is None:
            plan = self.folds.split(self.dataset)
            check_defined(self._metric, plan, self.dataset)
            self._fold_plan = plan
        return self._fold_plan

    @property
    def sub_studies(self) -> tuple["Study", ...]:
        """The studies of the parts, made on first use; none without ``sub_problems``.

        Raises:
            RecipeError: If the rows cannot be cut so.
            DataError: If a part is too small for the folds.
        """
        if self._sub_studies is None:
            wanted = self._sub_problems
            parts = wanted.split(self.dataset, self.fold_plan) if wanted else ()
            self._sub_studies = tuple(
                self._study_of(part, number) for number, part in enumerate(parts, start=1)
            )
        return self._sub_studies

    @property
    def _head_start(self) -> HeadStart:
        """What the study takes from others, made on first use."""
        if self._head_start_found is None:
            self._head_start_found = HeadStart(
                start_from=self._start_from,
                initial_weights=self._initial_weights,
                data=self.dataset,
                describe_data=self._describe_data,
                plan=self.fold_plan,
                model_class=self._model_class,
                space=self.space,
                parameters=self._parameters,
                storage=self.storage,
                folder=self.folder,
            )
        return self._head_start_found

    def _study_of(self, part: SubProblem, number: int) -> "Study":
        """Return the study of a part: this one, but for the rows that it trains on.

        Its searcher draws by a seed of its own, or all would try the same configurations.
        """
        assert self._sub_problems is not None
        study = copy.copy(self)
        study.name, study._whole, study._part = f"{self.name}.{part.name}", self.name, part
        check_study_name(study.name)
        study._fold_plan, study._descriptors = part.plan, self._describe_data()
        study._searcher = search.reseeded(self._searcher, number)
        study._sub_problems, study._sub_studies = None, ()
        study._head_start_found = None
        study._num_trials = self._sub_problems.num_trials
        return study

    def plan(self, num_trials: int | None = None) -> Plan:
        """Check everything that can be checked without starting anything, and say what will run.

        Raises:
            RecipeError: If anything about the study is wrong, or differs from how it began.
            SpaceError: If a given configuration is none of the space.
            DataError: If the data cannot be read, or hold too few rows for the folds.
            ModelError: If the model fails at an end of the space; see ``study.dry_run``.
        """
        plan, tried = self._planned(num_trials, accept_changed_code=False), self._dry_run()
        return replace(
            plan,
            model=(tried.line(self._model_class.__name__),),
            warnings=(*plan.warnings, *tried.warnings),
        )

    def _planned(self, num_trials: int | None, accept_changed_code: bool) -> Plan:
        """Return the plan without a try of the model."""
        settings = self._settings()
        if isinstance(self._searcher, Fixed):
            self._searcher.check(self.space)
        self._start_scheduler(settings.mode)
        num_folds = len(self.fold_plan.folds)
        parts = tuple(study._plan_part() for study in self.sub_studies)
        _check_folder(self.folder)
        journal = self.folder / "journal.jsonl"
        entries = read_journal(journal) if journal.exists() else []
        start, weights = self._head_start.start(entries), self._head_start.weights(entries)
        begun = self._check_begun(entries, accept_changed_code)
        return Plan(
            groups=self.groups,
            num_trials=self._limit(num_trials),
            num_folds=num_folds,
            epochs=self._epochs,
            data_bytes=self.dataset.num_bytes,
            inputs=input_lines(self.dataset),
            warnings=data_warnings(self.dataset, self._model_class),
            hints=self._hints(),
            past=(*start.lines, *(weights.lines if weights else ())),
            parts=parts,
            done=done_so_far(entries) if begun else "",
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
        """Run the study, or go on where it stopped.

        Ctrl-C once: folds in training write a checkpoint, everything is written, and the result
        so far is returned. Twice: the process ends at once; nothing that is finished is lost.

        Args:
            num_trials: Trials at most, those of earlier runs included; None takes what the
                recipe or the searcher says, else 50.
            max_time: Seconds after which the study ends in order: no new trials, and folds in
                training write a checkpoint after their epoch. Run it again to go on for as long.
                None takes what the recipe says.
            address: Address of a Ray cluster; None takes ``$RAY_ADDRESS``, else starts Ray here.
            show_progress: Whether to show a live table.
            accept_changed_code: Go on although the model's code has changed. Trials that are
                complete or were stopped stay, all others begin anew with the new code.
            retry_failed: Try failed trials again, which keep their finished folds. Those of
                other code are tried again anyway.

        Raises:
            RecipeError: If anything about the study is wrong, or differs from how it began.
            DataError: If the data are wrong.
            ResourcesError: If no cluster answers, or it cannot hold a single group.
            JournalError: If another process runs the study, or its journal is damaged.
            TrackingError: If MLflow's store is a file that is no database.
            SuspendedError: If a fault of the machine, or of Ray, lasts; run it again to go on.
        """
        from rayfold.groups.cluster import check_reachable  # Ray, which plan() does without

        max_time = check_limit("max_time", max_time) or self._max_time
        deadline = math.inf if max_time is None else time.monotonic() + max_time
        num_trials = self._planned(num_trials, accept_changed_code).num_trials
        self._model.check_travels()
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
        with Journal.open(self.folder / "journal.jsonl") as journal:
            entries = read_journal(journal.path)
            begun = self._check_begun(
                entries, accept_changed_code
            )  # before the parts are run for nothing
            parts = self._run_parts(call)
            if call.ended and not begun:
                return self._result((), call, uploaded=parts[0].uploaded, parts=parts)
            self._head_start.take_from_parts(parts, configurations=self._searcher.opens_with_past)
            study = self._open(journal, num_trials, call)
            uploaded = self._carry_out([study], call)
        if study.ledger.misled:
            logger.warning(
                "Folds that begin cold are clearly better than those with initial weights; all "
                "later trials begin cold."
            )
        return self._result(study.ledger.results, call, uploaded=uploaded, parts=parts)

    def _tell_assumptions(self) -> None:
        """Tell what is assumed of the data, and warn of what looks wrong."""
        for line in input_lines(self.dataset):
            logger.info("%s", line)
        for warning in data_warnings(self.dataset, self._model_class):
            logger.warning("%s", warning)

    def _try_model(self, *, anew: bool = False) -> None:
        """Try the model before anything starts, unless it has trained a fold before.

        Args:
            anew: Try it in any case, since it may have changed.

        Raises:
            ModelError: If it fails.
        """
        journal = self.folder / "journal.jsonl"
        entries = read_journal(journal) if journal.exists() else []
        if anew or not any(entry.event == "fold" for entry in entries):
            for warning in self._dry_run().warnings:
                logger.warning("%s", warning)

    def _dry_run(self) -> DryRun:
        """Try the model at the ends of the space, or with the configurations that are given.

        Raises:
            ModelError: If it fails.
        """
        searcher = self._searcher
        if isinstance(searcher, Fixed):
            configs: Sequence[Config] = searcher.configs[:MAX_CONFIGS]
        else:
            configs = end_configurations(self.space, limit=MAX_CONFIGS)
        return dry_run(
            self._setup(None), self.dataset, configs, uses_gpu=self.groups.gpus_per_worker > 0
        )

    def _run_parts(self, call: Call) -> tuple[StudyResult, ...]:
        """Run the studies of the parts in one pool, or go on with them."""
        if not self.sub_studies:
            return ()
        with ExitStack() as stack:
            opened = [
                study._open(
                    stack.enter_context(Journal.open(study.folder / "journal.jsonl")),
                    study._limit(None),
                    call,
                )
                for study in self.sub_studies
            ]
            uploaded = self._carry_out(opened, call, name=f"{self.name}.parts")
        return tuple(
            study._result(open_.ledger.results, call, uploaded=uploaded)
            for study, open_ in zip(self.sub_studies, opened, strict=True)
        )

    def _open(self, journal: Journal, num_trials: int, call: Call | None = None) -> OpenStudy:
        """Begin the study in its journal, or take it up where that ends."""
        call = call or Call()
        entries = read_journal(journal.path)
        start, settings = self._head_start.start(entries), self._settings()
        begun = _description_in(entries)
        planned = num_trials if begun is None else begun.get(NUM_TRIALS, num_trials)
        searcher = copy.deepcopy(self._searcher.fitted(planned))
        searcher.start(start.space, mode=settings.mode, past=start.past)
        scheduler, _ = self._start_scheduler(settings.mode)
        weights = self._head_start.weights(entries)
        self._begin(journal, entries, call.accept_changed_code, num_trials)
        ledger = Ledger(
            searcher,
            journal,
            num_trials=num_trials,
            scheduler=scheduler,
            cold_starts=(None if weights is None else ColdStarts(settings.mode, self.folds.total)),
            code=self._code.digest,
        )
        ledger.replay(entries)
        ledger.retry(failed=call.retry_failed)
        for trial, number in ledger.fresh_starts.items():
            start_anew(self.folder, trial, number)
        if ledger.exhausted and (failed := sum(r.status == "failed" for r in ledger.results)):
            logger.warning(
                "%d of %d trials failed in earlier runs and are not tried again; "
                "--retry-failed (retry_failed=True) does that.",
                failed,
                len(ledger.results),
            )
        setup = self._setup(None if weights is None else weights.warm_start)
        return OpenStudy(
            name=self.name,
            setup=setup,
            journal=journal,
            ledger=ledger,
            scheduler=scheduler,
            space=start.space,
        )

    def _setup(self, warm_start: WarmStart | None) -> StudySetup:
        return StudySetup(
            model=self._model,
            settings=self._settings(),
            plan=self.fold_plan,
            folder=self.folder,
            parameters=self._parameters,
            warm_start=warm_start,
        )

    def _carry_out(
        self, studies: Sequence[OpenStudy], call: Call, *, name: str | None = None
    ) -> bool:
        """Run studies in one pool until they are done or the call ends.

        Returns:
            Whether MLflow holds everything.
        """
        from rayfold.study.execution import Execution

        uri = tracking_uri(self.storage)
        folders = [study.setup.folder for study in studies]
        uploader = Uploader(folders, uri, self.storage / "artifacts")
        uploader.start()
        patience = UPLOAD_SECONDS
        try:
            if not call.ended and not all(study.ledger.exhausted for study in studies):
                with (
                    call.interruption.listening(),
                    create_progress(call.show_progress) as progress,
                ):
                    execution = Execution(
                        name=name or self.name,
                        studies=studies,
                        folder=self.folder,
                        groups=self.groups,
                        fold_order=self._fold_order,
                        tune_scheduler=self._start_scheduler(studies[0].setup.settings.mode)[1],
                        max_time_per_trial=self._max_time_per_trial,
                        call=call,
                        uploader=uploader,
                        progress=progress,
                    )
                    execution.run(self.dataset)
            for study in studies:
                study.journal.append("run", state=call.state)
        except (SuspendedError, JournalError):
            patience = SUSPENDED_UPLOAD_SECONDS
            for study in studies:
                with suppress(JournalError):  # on a full disk; the next run ends this one
                    study.journal.append("run", state="interrupted")
            raise
        finally:
            uploaded = uploader.finish(patience)
        if not uploaded:
            logger.warning(
                "MLflow at %s does not hold everything yet; the journal does. "
                "Run the study again to upload the rest.",
                uri,
            )
        return uploaded

    def _result(
        self,
        trials: Sequence[TrialResult],
        call: Call,
        *,
        uploaded: bool,
        parts: tuple[StudyResult, ...] = (),
    ) -> StudyResult:
        settings = self._settings()
        return StudyResult(
            name=self.name,
            metric=settings.metric,
            mode=settings.mode,
            metrics=scored_names(settings.metrics, settings.metric),
            trials=tuple(trials),
            interrupted=call.interruption.requested,
            uploaded=uploaded,
            tracking_uri=tracking_uri(self.storage),
            out_of_time=call.out_of_time and not call.interruption.requested,
            parts=parts,
        )

    def _start_scheduler(self, mode: Mode) -> "tuple[Scheduler | None, TrialScheduler | None]":
        """Return the scheduler, one of ours started or one of Ray Tune, or neither.

        Raises:
            RecipeError: If it does not suit the study.
        """
        if self._tune_scheduler is not None:
            from rayfold.tuning.foreign import prepared_scheduler

            return None, prepared_scheduler(self._tune_scheduler, mode)
        if self._scheduler is None:
            return None, None
        check_order(self._scheduler, self._fold_order, self.groups)
        check_turns(self._scheduler, self._searcher, self._max_time_per_trial)
        scheduler = copy.deepcopy(self._scheduler)
        scheduler.start(
            mode=mode,
            num_folds=self.folds.total,
            epochs=self._epochs,
            repeats=self.folds.repeats,
        )
        if isinstance(scheduler, Population):
            check_shapes_stay(
                scheduler.parameters(self.space),
                self.space,
                self._parameters,
                model_class=self._model_class,
                data=self.dataset,
            )
        if isinstance(scheduler, Replay):
            check_replay(scheduler, self._searcher, self.space)
            check_schedule_keeps_shapes(
                scheduler.schedule,
                self._parameters,
                model_class=self._model_class,
                data=self.dataset,
            )
        return scheduler, None

    def _plan_part(self) -> PartPlan:
        assert self._part is not None
        _check_folder(self.folder)
        return PartPlan(self.name, self._part.num_rows, self._limit(None))

    def _hints(self) -> tuple[str, ...]:
        num_rows = len(self.dataset.development_rows)
        if num_rows >= FEW_ROWS or self.folds.repeats > 1:
            return ()
        return (f"{num_rows} rows are few: folds.repeats=3 would steady the scores",)

    def _limit(self, num_trials: int | None) -> int:
        """Return how many trials there will be at most."""
        wanted = num_trials if num_trials is not None else self._num_trials
        if wanted is not None:
            wanted = whole_number("num_trials", wanted, at_least=1)
        capacity = self._searcher.capacity
        limit = wanted or capacity or DEFAULT_NUM_TRIALS
        if capacity is not None:
            limit = min(limit, capacity)
        if isinstance(self._scheduler, Population) and limit < 2:
            raise RecipeError(
                f"num_trials is the size of the population, at least 2, not {limit}."
            )
        return limit

    def _settings(self) -> Settings:
        """Check all names against the task and the model."""
        task = self.dataset.task
        loss = check_loss(self._loss, task)
        metrics = check_metrics(self._metrics, task)
        mode = check_mode(self._mode, self._metric, metric_mode(self._metric, metrics, task))
        for criterion in self.accept:
            try:
                metric_mode(criterion.metric, metrics, task)
            except RecipeError as error:
                raise RecipeError(f"accept: {error}") from None
        check_hyperparameters(
            self.space, self._parameters, model_class=self._model_class, task=task, loss=loss
        )
        return Settings(
            epochs=self._epochs,
            loss=loss,
            metrics=metrics,
            metric=self._metric,
            mode=mode,
            random_seed=self._random_seed,
            checkpoint_seconds=self._checkpoint_seconds,
        )

    def _describe_data(self) -> dict[str, float]:
        """Return the data's descriptors, found once: landmarks take a second."""
        if self._descriptors is None:
            self._descriptors = describe_data(self.dataset)
        return self._descriptors

    def _description(self, start: Start) -> dict[str, Any]:
        """Return what the study is, for its journal and for MLflow."""
        start_from, initial_weights = self._start_from, self._initial_weights
        return {
            "model": self._model.reference,
            "code": self._code.to_dict(),
            **describe_data_set(self.dataset, self._data),
            "descriptors": self._describe_data(),
            "fold_digest": self.fold_plan.digest,
            "num_folds": len(self.fold_plan.folds),
            "folds": {**asdict(self.folds), "row_groups": self._data.row_groups},
            **describe_training(self._settings()),
            "parameters": dict(self._parameters),
            "start_from": None if start_from is None else start_from.settings(),
            "initial_weights": None if initial_weights is None else initial_weights.settings(),
            "sub_problems": self._describe_parts(),
            "sub_problem": self._describe_part(),
            "searcher": self._searcher.settings(),
            "scheduler": scheduler_settings(self._scheduler, self._tune_scheduler),
            "space": start.space.to_dict(),
            "accept": [criterion.model_dump(exclude_none=True) for criterion in self.accept],
            "environment": describe_environment(),
        }

    def _describe_parts(self) -> dict[str, Any] | None:
        """Return how the rows are cut into parts, and how these are called."""
        if self._sub_problems is None:
            return None
        parts = [study._part.name for study in self.sub_studies if study._part is not None]
        return {**self._sub_problems.settings(), "parts": parts}

    def _describe_part(self) -> dict[str, Any] | None:
        """Return which part of which study this is a study of."""
        if self._part is None:
            return None
        part = self._part
        return {"of": self._whole, "part": part.name, "rows": part.num_rows, "digest": part.digest}

    def _check_begun(self, entries: Sequence[Entry], accept_changed_code: bool = False) -> bool:
        """Check that a study goes on as it began; return whether it has begun at all."""
        begun = _description_in(entries)
        if begun is not None:
            present = self._description(self._head_start.start(entries))
            check_same(self.name, begun, present)
            check_code(self.name, entries, self._code, accept=accept_changed_code)
        return begun is not None

    def _begin(
        self,
        journal: Journal,
        entries: Sequence[Entry],
        accept_changed_code: bool = False,
        num_trials: int | None = None,
    ) -> None:
        """Write the study's first lines, or check that it is still the same study.

        What was taken from the past is written before anything can be suggested by it, and which
        rows the models will have seen before there is any.
        """
        begun = self._check_begun(entries, accept_changed_code)
        head_start = self._head_start
        start, weights = head_start.start(entries), head_start.weights(entries)
        takes_past = self._start_from is not None or self._sub_problems is not None
        head_start.write(journal, entries, takes_past=takes_past)
        keep_text(self._model, self.folder)
        if begun:
            note_code(self.name, journal, entries, self._code)
        else:
            inherited = weights.inherited if weights is not None else {}
            seen = SeenRows.of(self.dataset, self.fold_plan, inherited)
            seen.save(self.folder / SEEN_ROWS)
            description = {**self._description(start), NUM_TRIALS: self._limit(num_trials)}
            journal.append("study", name=self.name, id=uuid.uuid4().hex, description=description)
        journal.append("run", state="started")


def _description_in(entries: Sequence[Entry]) -> Mapping[str, Any] | None:
    """Return what a study was when it began; None before that."""
    begun = next((entry for entry in entries if entry.event == "study"), None)
    return None if begun is None else begun.fields["description"]


def _check_folder(folder: Path) -> None:
    """Check that a study can be kept in a folder, which need not be there yet."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise RecipeError(
            f"{folder}: the study's folder cannot be made, since {there} is no folder that can be "
            "written; choose another storage."
        )
    try:
        tempfile.TemporaryFile(dir=there).close()  # root may write where no file can be, in /proc
    except OSError as error:
        if machine_fault(error, there) is None:
            raise RecipeError(
                f"{folder}: the study's folder cannot be made, since {there} takes no files "
                f"({error.strerror}); choose another storage."
            ) from None
    if (folder / "trials").exists() and not (folder / "journal.jsonl").exists():
        raise RecipeError(
            f"{folder} holds trials but no journal; move it away or choose another study name."
        )

"""One run of one or several studies in a pool, from the first group to the last trial."""

import dataclasses
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    WorkerCrashedError,
)

from rayfold.data import DataSet
from rayfold.data.staging import stage
from rayfold.errors import DispatcherLostError, JournalError, ResourcesError
from rayfold.groups.cluster import check_room, cluster
from rayfold.groups.placement import nodes_without_groups
from rayfold.groups.plan import Groups
from rayfold.groups.pool import Pool
from rayfold.groups.ray_processes import RayProcesses
from rayfold.jobs import FoldOrder
from rayfold.machine import machine_fault
from rayfold.report import Progress, StudyState
from rayfold.study.opened import Call, OpenStudy
from rayfold.study.suspension import Suspension
from rayfold.tracking import Uploader
from rayfold.tuning.adapter import SchedulerAdapter, SearcherAdapter
from rayfold.tuning.exploits import Exploiter
from rayfold.tuning.ledgers import Ledgers
from rayfold.tuning.population import PopulationScheduler
from rayfold.tuning.schedulers import tune_scheduler
from rayfold.tuning.states import remove_states
from rayfold.tuning.trainable import TrialRunner, trial_resources

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.5

MAX_DEATHS = 5
"""Number of times in a row that an actor's death may end Tune without a finished fold between."""

SIGNAL_SECONDS = 0.2
"""Seconds that a signal which has ended Ray may take to arrive here."""


class Execution:
    """One run on a cluster, from the first group to the last trial.

    Several studies share one pool and one run of Tune; their trials take turns. They have the same
    model, settings, number of folds and kind of scheduler. No scheduler changes trials at
    milestones.
    """

    def __init__(
        self,
        *,
        name: str,
        studies: Sequence[OpenStudy],
        scratch: Path,
        groups: Groups,
        fold_order: FoldOrder,
        max_time_per_trial: float | None,
        call: Call,
        uploader: Uploader,
        progress: Progress,
    ) -> None:
        self._name, self._studies, self._groups, self._order = name, studies, groups, fold_order
        self._setup, self._folder = studies[0].setup, scratch
        self._ledgers = Ledgers({study.name: study.ledger for study in studies})
        self._scheduler = studies[0].scheduler
        self._max_time_per_trial, self._call = max_time_per_trial, call
        self._uploader, self._progress = uploader, progress
        self._folds_before = self._ledgers.num_folds_done
        self._noted_groups: set[int] = set()
        self._lost = False
        self._suspension = Suspension(
            self._setup.folder, interrupted=lambda: call.interruption.requested
        )
        for study in studies:
            study.journal.waits_after = self._suspension.waits_after
        self._state = self._snapshot_ledgers()

    def run(self, data: DataSet) -> None:
        """Run until the ledgers are exhausted or the run is interrupted.

        Everything that was started is ended in any case.

        Raises:
            ResourcesError: If the cluster has no room for a group.
            SuspendedError: If a fault of the machine, of Ray or of the workers' environment
                lasts; the next run resumes.
        """
        self._progress.update(self._state)
        address = self._call.address
        with cluster(address) as ray_processes:
            check_room(self._groups, address)
            reference = stage(data)
            listening = self._call.interruption.listening()  # again: Ray has taken SIGTERM
            guarded = self._ending_with_ray(ray_processes)
            with listening, guarded:
                pool = Pool(
                    self._groups,
                    setups={study.name: study.setup for study in self._studies},
                    data=reference,
                    folder=self._folder / "groups",
                )
                try:
                    pool.start()
                    with self._watching(pool):
                        self._tune(pool)
                    if not self._call.interruption.requested:
                        self._suspension.check()
                finally:
                    pool.stop()
                    shutil.rmtree(self._folder, ignore_errors=True)
                    self._remove_states()
        self._progress.update(dataclasses.replace(self._state, ended=True))

    def _tune(self, pool: Pool) -> None:
        """Run Tune to its end, and again after a death that ends it too early.

        One case is an actor that Ray ends because memory is short. Ray ends the newest processes.
        These are often the actors of trials, not the worker that needs the memory.
        """
        in_vain, done_before = 0, -1
        for number in count():
            death = self._run_tune(pool, name=f"tune_{number}")
            if death is None or self._call.ended or self._suspension.reason:
                return
            done = self._ledgers.num_folds_done
            in_vain = in_vain + 1 if done == done_before else 1
            done_before = done
            if in_vain == MAX_DEATHS:
                self._suspension.end(f"{death}, {in_vain} times, and no fold was finished")
                return
            logger.warning("%s. Running trials resume from their last checkpoints.", death)
            for study, ledger in self._ledgers.items():
                for trial in ledger.hand_out_again():
                    pool.release(study, trial)

    def _run_tune(self, pool: Pool, *, name: str) -> str | None:
        """Run Tune once; return the death that has ended it too early, or None."""
        groups = self._groups
        trainable = tune.with_parameters(
            TrialRunner,
            dispatcher=pool.dispatcher,
            num_folds=len(self._setup.plan.folds),
            epochs=self._setup.settings.epochs,
            order=self._order,
            groups_per_trial=groups.per_trial,
            metric=self._setup.settings.metric,
            jobs_ahead=0 if self._scheduler else 1,
            max_seconds=self._max_time_per_trial,
            milestones=self._scheduler.milestones if self._scheduler else (),
        )
        spare = max(1, groups.trials_at_once // 4)  # these wait for a group, so that none idles
        at_once = groups.trials_at_once + spare
        scheduler = tune_scheduler(
            self._scheduler,
            Exploiter(self._studies[0].ledger, self._setup.folder, len(self._setup.plan.folds)),
            space=self._studies[0].space,
            at_once=at_once,
        )
        turns = scheduler if isinstance(scheduler, PopulationScheduler) else None
        tuner = tune.Tuner(
            tune.with_resources(
                trainable, trial_resources(avoid=nodes_without_groups(self._groups))
            ),
            tune_config=tune.TuneConfig(
                search_alg=SearcherAdapter(
                    self._ledgers,
                    release=pool.release,
                    on_change=self._on_change,
                    on_fault=self._suspension.note,
                    on_loss=self._suspension.end,
                    has_room=turns.has_room if turns else None,
                ),
                scheduler=SchedulerAdapter(
                    self._ledgers,
                    release=pool.release,
                    on_change=self._on_change,
                    on_fault=self._suspension.note,
                    tune_scheduler=scheduler,
                    pauses_with_groups=not (self._scheduler and self._scheduler.milestones),
                ),
                num_samples=-1,
                max_concurrent_trials=self._ledgers.num_trials if turns else at_once,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=str(self._folder),
                failure_config=tune.FailureConfig(max_failures=2),
                # A trial that is over needs none, and a full disk would spoil its end.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                stop=_StopsWhen(lambda: self._lost),
                verbose=0,
                progress_reporter=tune.CLIReporter(),  # the notebook's would wipe our table
            ),
        )
        try:
            tuner.fit()
        except Exception as error:  # Tune wraps what its callbacks raise
            fault = machine_fault(error, self._setup.folder)
            if fault is not None:
                self._suspension.end(fault)
            elif (death := _death(error)) is not None:
                return death
            elif not self._suspension.reason:
                raise
        return None

    def _remove_states(self) -> None:
        """Remove the checkpoints of trials that will never be resumed."""
        for study in self._studies:
            for result in study.ledger.results:
                remove_states(study.setup.folder, result.id)

    def _on_change(self) -> None:
        """Runs in Tune's thread; no other thread changes the ledgers."""
        self._state = self._snapshot_ledgers()
        self._uploader.notify()

    def _snapshot_ledgers(self) -> StudyState:
        settings = self._setup.settings
        return StudyState(
            name=self._name,
            metric=settings.metric,
            mode=settings.mode,
            num_trials=self._ledgers.num_trials,
            num_folds=len(self._setup.plan.folds),
            results=tuple(
                dataclasses.replace(result, id=self._shown_id(study, result.id))
                for study, ledger in self._ledgers.items()
                for result in ledger.results
            ),
            num_folds_done=self._ledgers.num_folds_done,
            num_folds_before=self._folds_before,
            maximum_groups=self._groups.maximum,
            num_studies=len(self._studies),
        )

    def _shown_id(self, study: str, trial: str) -> str:
        return trial if len(self._studies) == 1 else f"{study}/{trial}"

    def _note_groups(self, pool: Pool) -> None:
        """Record when each group was first ready, and where."""
        for arrival in pool.arrivals():
            if arrival.group not in self._noted_groups:
                self._noted_groups.add(arrival.group)
                self._ledgers.group_ready(arrival.group, node=arrival.node, at=arrival.ready_at)

    @contextmanager
    def _watching(self, pool: Pool) -> Iterator[None]:
        """Show progress and forward an interruption, beside Tune's loop."""
        done, call = threading.Event(), self._call

        def watch() -> None:
            ending = over = False
            while not over:
                over = done.wait(PROGRESS_SECONDS)  # and one last look: runs may be short
                try:
                    if time.monotonic() > call.deadline and not call.interruption.requested:
                        call.out_of_time = True
                    if not ending and (call.ended or self._suspension.reason):
                        ending = True
                        self._ledgers.close()
                        pool.interrupt()
                    snapshot = pool.snapshot()
                    if snapshot.num_arrived > len(self._noted_groups):
                        self._note_groups(pool)
                    self._progress.update(self._state.with_pool(snapshot))
                except DispatcherLostError:
                    self._suspension.end("the dispatcher, which gives out jobs, has died")
                    self._ledgers.close()
                    self._lost = True
                    return
                except (ResourcesError, JournalError) as error:
                    self._suspension.end_by(error)
                except Exception:  # whatever it is, Ctrl-C must still be passed on
                    logger.exception("Progress cannot be shown.")

        with _beside(watch, until=done):
            yield

    @contextmanager
    def _ending_with_ray(self, ray_processes: RayProcesses) -> Iterator[None]:
        """Exit at once if Ray is gone, by itself or by the signal that interrupts.

        Further calls would hang for minutes.
        """
        done, interruption = threading.Event(), self._call.interruption
        interruption.before_exit = ray_processes.kill

        def guard() -> None:
            while not done.is_set():
                lost = ray_processes.wait(PROGRESS_SECONDS)
                if lost and not done.wait(0.0 if interruption.requested else SIGNAL_SECONDS):
                    interruption.give_up(lost)

        with _beside(guard, until=done):
            yield


@contextmanager
def _beside(work: Callable[[], None], *, until: threading.Event) -> Iterator[None]:
    """Do ``work`` in a thread, until the event that this sets at the end."""
    thread = threading.Thread(target=work, name=work.__name__, daemon=True)
    thread.start()
    try:
        yield
    finally:
        until.set()
        thread.join()


def _death(error: BaseException | None) -> str | None:
    """Return what happened to the actor of a trial, if this is the cause of Tune's error."""
    while error is not None:
        if isinstance(error, OutOfMemoryError):
            return "Ray has ended the actor of a trial, since its node runs out of memory"
        if isinstance(error, NodeDiedError | WorkerCrashedError | ObjectLostError):
            return f"Ray has lost the actor of a trial ({type(error).__name__})"
        error = error.__cause__ or error.__context__
    return None


class _StopsWhen(tune.Stopper):  # type: ignore[misc]
    """Ends all trials as soon as nothing can answer them; trials cannot notice this themselves."""

    def __init__(self, over: Callable[[], bool]) -> None:
        self._over = over

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._over()

    def __getstate__(self) -> dict[str, Any]:
        """Return an empty state: Tune pickles it for a resume that Rayfold never uses."""
        return {}

"""The loop of a group's worker: take a job, train, report, until told to stop."""

import os
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import ray
import ray.train
import ray.train.torch

from rayfold.data import DataSet
from rayfold.errors import DispatcherLostError
from rayfold.groups.client import DispatcherClient
from rayfold.jobs import FoldJob, FoldOutcome, Reply
from rayfold.machine import machine_fault
from rayfold.training import Collective, Distributed, FoldRun, SingleProcess, StudySetup
from rayfold.training.loop import finished_result
from rayfold.training.metrics import load_metrics


@dataclass(frozen=True, kw_only=True)
class GroupWork:
    """What a group gets once, when it starts.

    Attributes:
        group: Its number in the pool.
        dispatcher: Client of the pool's dispatcher.
        setups: The setup of each study, by the study's name.
        data: Reference to the staged data set.
    """

    group: int
    dispatcher: DispatcherClient
    setups: Mapping[str, StudySetup]
    data: "ray.ObjectRef[DataSet]"


def serve(config: dict[str, GroupWork]) -> None:
    """Run one worker of a group; Ray Train calls this on every rank."""
    work = config["work"]
    load_metrics()
    device = ray.train.torch.get_device()
    context = ray.train.get_context()
    collective: Collective = (
        Distributed(device) if context.get_world_size() > 1 else SingleProcess(device)
    )
    trainer = _FoldTrainer(work.setups, ray.get(work.data), collective)
    link = _Link(work, collective, node=ray.get_runtime_context().get_node_id())
    outcome: FoldOutcome | None = None
    while True:
        reply: Reply = collective.broadcast(link.exchange(outcome))
        if reply.stop:
            link.close()
            return
        outcome = None
        if reply.job is not None:
            with link.training(trainer):
                outcome = trainer.carry_out(reply.job, link)


class _FoldTrainer:
    """Carries out jobs; keeps the folds of the present trial in memory between jobs."""

    def __init__(
        self, setups: Mapping[str, StudySetup], data: DataSet, collective: Collective
    ) -> None:
        self._setups, self._data, self._collective = setups, data, collective
        self._runs: dict[tuple[str, str, int, int], FoldRun] = {}
        self.present: FoldRun | None = None

    def carry_out(self, job: FoldJob, link: "_Link") -> FoldOutcome:
        """Carry out ``job`` and return its outcome, which may be an error of the user's model.

        A fault of the machine is an outcome of its own, never an error of the model.

        Raises:
            RuntimeError: If only some ranks failed, so that the group must be rebuilt.
        """
        self.present = None
        try:
            return self._train(job, link.should_stop)
        except BaseException as error:  # whatever a model raises is its own
            self._runs.clear()
            fault = machine_fault(error, self._setups[job.study].folder)
            diverged = isinstance(error, FloatingPointError)
            setup = self._setups[job.study]
            text = str(error) if diverged else setup.told(traceback.format_exc())
            if not link.all_ranks_failed(text, fault):
                raise RuntimeError(f"it failed alone ({type(error).__name__}: {error})") from error
            if fault is not None:
                return FoldOutcome(job=job, fault=fault)
            return FoldOutcome(job=job, error=text, diverged=diverged)

    def _train(self, job: FoldJob, should_stop: Callable[[], bool]) -> FoldOutcome:
        setup = self._setups[job.study]
        done = self._collective.broadcast(finished_result(job, setup.folder))
        if done is not None:
            return FoldOutcome(
                job=job,
                epoch=len(done.history),
                metrics=_metrics_at(done.history, job.until_epoch),
                result=done,
            )
        self._keep_only(job)
        key = (*job.key, job.lineage)
        run = self._runs.get(key)
        if run is None or run.is_outdated():
            run = FoldRun(job, setup=setup, data=self._data, collective=self._collective)
            self._runs[key] = run
        self.present = run
        result = run.advance(job, should_stop=should_stop)
        if result is not None:
            del self._runs[key]
        return FoldOutcome(
            job=job,
            epoch=run.epoch,
            metrics=_metrics_at(run.history, job.until_epoch),
            result=result,
        )

    def _keep_only(self, job: FoldJob) -> None:
        """End the runs of other trials, and those of this trial's earlier lineages."""
        present = job.study, job.trial, job.lineage
        for study, trial, fold, lineage in list(self._runs):
            if (study, trial, lineage) != present:
                del self._runs[study, trial, fold, lineage]


def _metrics_at(history: Sequence[Mapping[str, float]], epoch: int) -> Mapping[str, float]:
    """Return the metrics of an epoch; a fold resumed from a checkpoint may be ahead of it."""
    return history[min(epoch, len(history)) - 1] if history else {}


class _Link:
    """A worker's connection to the dispatcher; ranks other than 0 only report failures."""

    def __init__(self, work: GroupWork, collective: Collective, *, node: str) -> None:
        self._work, self._collective = work, collective
        self._trainer: _FoldTrainer | None = None
        self._num_jobs = 0
        self._job_to_stop = 0
        self._closed = False
        self._changed = threading.Condition()  # guards the four above
        token = ""
        if collective.rank == 0:
            with suppress(DispatcherLostError):  # the first exchange will tell
                token = work.dispatcher.announce(work.group, node, os.getpid())
        self._token = collective.broadcast(token)
        if collective.rank == 0:
            threading.Thread(target=self._listen, name="listener", daemon=True).start()

    def exchange(self, outcome: FoldOutcome | None) -> Reply | None:
        """Deliver an outcome and return the next job; None on ranks other than 0.

        If the dispatcher is gone, the reply is to stop.
        """
        if self._collective.rank != 0:
            return None
        try:
            return self._work.dispatcher.exchange(self._work.group, self._token, outcome)
        except DispatcherLostError:
            return Reply(stop=True)

    @contextmanager
    def training(self, trainer: _FoldTrainer) -> Iterator[None]:
        """Report the progress of ``trainer`` to the dispatcher while the block runs."""
        with self._changed:
            self._num_jobs += 1
            self._trainer = trainer
            self._changed.notify()
        try:
            yield
        finally:
            self._trainer = None

    def should_stop(self) -> bool:
        """Whether the dispatcher wants the present job to end after the epoch."""
        return self._job_to_stop == self._num_jobs

    def all_ranks_failed(self, error: str, fault: str | None) -> bool:
        """Report that this rank has failed, and return whether all have."""
        world_size = self._collective.world_size
        if world_size == 1:
            return True
        try:
            return self._work.dispatcher.rank_failed(
                self._work.group, self._token, self._collective.rank, world_size, error, fault
            )
        except DispatcherLostError:
            return False

    def close(self) -> None:
        """End the thread that listens."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _listen(self) -> None:
        """While a job is trained, report its progress and wait for a reason to end it."""
        while True:
            with self._changed:
                self._changed.wait_for(self._has_reason_to_listen)
                if self._closed:
                    return
                trainer, number = self._trainer, self._num_jobs
            epoch = trainer.present.epoch if trainer and trainer.present else 0
            try:
                if self._work.dispatcher.listen(self._work.group, self._token, epoch):
                    self._job_to_stop = number
            except (DispatcherLostError, ray.exceptions.RayError):
                self._job_to_stop = number  # the pool is gone, and so will this worker be
                return

    def _has_reason_to_listen(self) -> bool:
        """Whether a job is trained that need not end, or there will be no more jobs."""
        return self._closed or (self._trainer is not None and self._job_to_stop != self._num_jobs)

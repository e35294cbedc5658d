"""A simulation lends groups as the dispatcher does, and books trials as the ledger does."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rayfold.groups.dispatcher import Dispatcher
from rayfold.jobs import FoldJob, FoldOutcome
from rayfold.journal import Journal
from rayfold.results import FoldResult, Status, Trial
from rayfold.schedulers import Racing
from rayfold.search import Genetic, Observation
from rayfold.simulation import Charges, Table, simulate
from rayfold.space import Int, SearchSpace
from rayfold.tuning.ledger import Ledger

SPACE = SearchSpace({"number": Int(0, 99)})
NUM_GROUPS, NUM_FOLDS, NUM_WAITING, NUM_TRIALS = 6, 4, 2, 24

# No two folds end at the same time, so that there is one order of events.
RANDOM = np.random.default_rng(0)
TABLE = Table(
    SPACE,
    [{"number": number} for number in range(100)],
    RANDOM.random((100, NUM_FOLDS)),
    RANDOM.uniform(1.0, 10.0, (100, NUM_FOLDS)),
    repeated=False,
)

End = tuple[Status, float, float]
"""How a trial has ended, when its first fold began, and when it had ended."""


class Noting(Genetic):
    """Notes what it is told, in order; it learns, so that what it suggests depends on that."""

    def __init__(self) -> None:
        super().__init__(population=6, generations=5)
        self.told: list[Observation] = []

    def _learn(self, observation: Observation) -> None:
        self.told.append(observation)
        super()._learn(observation)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer, instead of waiting for it."""

    _now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        timers: Any = self._scheduled  # type: ignore[attr-defined]
        if not self._ready:  # type: ignore[attr-defined]
            self._now = min(timer.when() for timer in timers if not timer.cancelled())
        super()._run_once()  # type: ignore[misc]


class Study:
    """Trials and groups that meet in a dispatcher, and a driver that asks and tells a ledger."""

    def __init__(self, ledger: Ledger, *, groups_per_trial: int, ahead: int) -> None:
        self._ledger, self._groups_per_trial, self._ahead = ledger, groups_per_trial, ahead
        self._dispatcher = Dispatcher()
        self._rows: dict[str, int] = {}
        self.ends: dict[str, End] = {}

    async def run(self) -> None:
        groups = [asyncio.create_task(self._serve(number)) for number in range(NUM_GROUPS)]
        room = NUM_GROUPS // self._groups_per_trial + NUM_WAITING
        live: set[asyncio.Task[None]] = set()
        while live or not self._ledger.exhausted:
            while len(live) < room and (trial := self._ledger.next_trial()) is not None:
                self._rows[trial.id] = int(trial.config["number"])
                live.add(asyncio.create_task(self._carry_out(trial)))
            _, live = await asyncio.wait(live, return_when=asyncio.FIRST_COMPLETED)
        await self._dispatcher.stop()
        await asyncio.gather(*groups)

    async def _carry_out(self, trial: Trial) -> None:
        dispatcher, clock = self._dispatcher, asyncio.get_running_loop().time
        held = await dispatcher.acquire(trial.id, self._groups_per_trial)
        began, num_done, decision = clock(), 0, "go on"
        jobs = [
            FoldJob(trial=trial.id, config=trial.config, fold=fold, until_epoch=1)
            for fold in range(NUM_FOLDS)
        ]
        await dispatcher.submit(trial.id, jobs[: held + self._ahead])
        jobs = jobs[held + self._ahead :]
        while num_done < NUM_FOLDS and decision == "go on":
            for outcome in await dispatcher.wait(trial.id):
                assert outcome.result is not None
                num_done += 1
                decision = self._ledger.fold_finished(trial.id, outcome.result)
            if decision == "go on":
                await dispatcher.submit(trial.id, jobs[:1])
                jobs = jobs[1:]
        await dispatcher.release(trial.id)
        status: Status = "completed" if num_done == NUM_FOLDS else "stopped"
        self._ledger.trial_finished(trial.id, status)
        self.ends[trial.id] = status, began, clock()

    async def _serve(self, group: int) -> None:
        token = await self._dispatcher.announce(group, "node", group)
        outcome = None
        while not (reply := await self._dispatcher.exchange(group, token, outcome)).stop:
            outcome = None if reply.job is None else await self._train(group, token, reply.job)

    async def _train(self, group: int, token: str, job: FoldJob) -> FoldOutcome:
        clock = asyncio.get_running_loop().time
        began, row = clock(), self._rows[job.trial]
        end = began + TABLE.seconds[row, job.fold]
        while (left := end - clock()) > 0:
            listening = asyncio.create_task(self._dispatcher.listen(group, token, 0))
            await asyncio.wait({listening}, timeout=left)
            if listening.done() and listening.result():
                return FoldOutcome(job=job)
            listening.cancel()
        result = FoldResult(
            fold=job.fold,
            score=float(TABLE.scores[row, job.fold]),
            history=({},),
            started_at=began,
            finished_at=end,
            busy_seconds=end - began,
            weights="",
            predictions=None,
        )
        return FoldOutcome(job=job, result=result)


@pytest.mark.parametrize("groups_per_trial", [1, 2, 3])
@pytest.mark.parametrize("races", [False, True])
def test_trials_begin_and_end_as_with_the_dispatcher_and_the_ledger(
    tmp_path: Path, groups_per_trial: int, races: bool
) -> None:
    ours, theirs = Noting(), Noting()
    schedulers = [Racing(level=0.4) if races else None for _ in range(2)]
    for searcher, scheduler in zip((ours, theirs), schedulers, strict=True):
        searcher.start(SPACE, mode="min")
        if scheduler is not None:
            scheduler.start(mode="min", num_folds=NUM_FOLDS, epochs=1)
    simulation = simulate(
        ours,
        TABLE,
        num_groups=NUM_GROUPS,
        num_trials=NUM_TRIALS,
        num_folds=NUM_FOLDS,
        groups_per_trial=groups_per_trial,
        waiting_trials=NUM_WAITING,
        scheduler=schedulers[0],
        charges=Charges.none(),
    )
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        ledger = Ledger(theirs, journal, num_trials=NUM_TRIALS, scheduler=schedulers[1])
        study = Study(ledger, groups_per_trial=groups_per_trial, ahead=0 if races else 1)
        with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
            runner.run(study.run())
    assert ours.told == theirs.told
    assert len(ours.told) == NUM_TRIALS
    assert any(trial.status == "stopped" for trial in simulation.trials) == races
    for trial in simulation.trials:
        status, *times = study.ends[trial.id]
        assert status == trial.status
        assert times == pytest.approx([trial.started_at, trial.finished_at])

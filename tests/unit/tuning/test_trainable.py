"""A trial's steps over the real dispatcher, with groups that train nothing, and without Ray."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal

import pytest

from rayfold.groups.client import DispatcherClient
from rayfold.groups.dispatcher import Dispatcher
from rayfold.jobs import FoldJob, FoldOutcome
from rayfold.results import FoldResult
from rayfold.tuning.trainable import TrialRunner, write_pointer

NUM_FOLDS = 3
EPOCHS = 4
DEADLINE_SECONDS = 20.0


def score(fold: int, epoch: int) -> float:
    """Return 0.125, 0.25, 0.375 ... of folds 0, 1, 2 after the last epoch; more before it."""
    return 0.125 * (fold + 1) + EPOCHS - epoch


class LocalClient(DispatcherClient):
    """Calls a dispatcher that runs in another thread of this process."""

    def __init__(self, dispatcher: Dispatcher, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__([dispatcher])
        self._loop = loop

    def _send_to(self, actor: Dispatcher, method: str, *args: Any, **kwargs: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(getattr(actor, method)(*args), self._loop)

    def _answer(self, reference: Any) -> Any:
        return reference.result(DEADLINE_SECONDS)


class Pool:
    """A dispatcher in a thread of its own, and groups that answer jobs at once, or never."""

    def __init__(self, num_groups: int, *, hangs: Callable[[FoldJob], bool]) -> None:
        self.dispatcher = Dispatcher()
        self.jobs: list[tuple[int, int]] = []
        self.saved: list[tuple[int, int, int]] = []
        self.reached: dict[int, int] = {}
        self.errors: dict[int, tuple[str, bool]] = {}
        self.faults: dict[int, str] = {}
        self.cancelled: list[int] = []
        self._hangs = hangs
        self._loop = asyncio.new_event_loop()
        self.client = LocalClient(self.dispatcher, self._loop)
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._groups: list[Future[None]] = [
            asyncio.run_coroutine_threadsafe(self._serve(number), self._loop)
            for number in range(num_groups)
        ]

    def close(self) -> None:
        self.client.stop()
        for group in self._groups:
            group.result(DEADLINE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self, number: int) -> None:
        token = await self.dispatcher.announce(number, "node", 1)
        outcome = None
        while True:
            reply = await self.dispatcher.exchange(number, token, outcome)
            if reply.stop:
                return
            outcome = None
            if reply.job is not None:
                outcome = await self._train(number, token, reply.job)

    async def _train(self, number: int, token: str, job: FoldJob) -> FoldOutcome:
        self.jobs.append((job.fold, job.until_epoch))
        if job.save:
            self.saved.append((job.fold, job.until_epoch, job.lineage))
        if self._hangs(job):
            while not await self.dispatcher.listen(number, token, 1):
                pass
            self.cancelled.append(job.fold)
            return FoldOutcome(job=job, epoch=job.until_epoch - 1)
        if job.fold in self.errors:
            error, diverged = self.errors.pop(job.fold)
            return FoldOutcome(job=job, error=error, diverged=diverged)
        if job.fold in self.faults:
            return FoldOutcome(job=job, fault=self.faults.pop(job.fold))
        done = job.until_epoch == EPOCHS
        metrics = {"val_loss": score(job.fold, job.until_epoch)}
        result = FoldResult(
            fold=job.fold,
            score=metrics["val_loss"],
            history=(metrics,),
            started_at=1.0,
            finished_at=2.0,
            busy_seconds=0.5,
            weights="weights.safetensors",
            predictions="predictions.safetensors",
        )
        return FoldOutcome(
            job=job,
            epoch=max(job.until_epoch, self.reached.get(job.fold, 0)),
            metrics=metrics,
            result=result if done else None,
        )


Start = Callable[..., tuple[TrialRunner, Pool]]


@pytest.fixture
def start() -> Iterator[Start]:
    """A trial on a pool: ``start("in_turn", num_groups=2, max_seconds=0.1)``."""
    pools: list[Pool] = []

    def begin(
        order: Literal["in_turn", "together"],
        *,
        num_groups: int = 1,
        hangs: Callable[[FoldJob], bool] = lambda job: False,
        **settings: Any,
    ) -> tuple[TrialRunner, Pool]:
        pool = Pool(num_groups, hangs=hangs)
        pools.append(pool)
        runner = TrialRunner.__new__(TrialRunner)  # Tune's own part of it is not needed here
        runner.setup(
            {"study": "digits", "trial": "0007", "hyperparameters": {"batch_size": 8}},
            dispatcher=pool.client,
            num_folds=NUM_FOLDS,
            epochs=EPOCHS,
            order=order,
            groups_per_trial=num_groups,
            metric="val_loss",
            **settings,
        )
        return runner, pool

    yield begin
    for pool in pools:
        pool.close()


def run(runner: TrialRunner) -> list[dict[str, Any]]:
    reports = [runner.step()]
    while not reports[-1]["done"]:
        reports.append(runner.step())
    return reports


def folds(report: dict[str, Any]) -> list[int]:
    return [fold["fold"] for fold in report["folds"]]


def test_in_turn_each_step_ends_with_a_fold(start: Start) -> None:
    """Or two, where the next one was quick; the means of 0.125, 0.25 and 0.375 so far."""
    reports = run(start("in_turn")[0])
    assert [fold for report in reports for fold in folds(report)] == [0, 1, 2]
    means = {1: 0.125, 2: 0.1875, 3: 0.25}
    for report in reports:
        assert report["score"] == means[report["num_folds"]]
        assert report["complete"] == report["done"] == (report["num_folds"] == 3)
        assert not report["epoch_scores"]


def test_without_jobs_ahead_no_fold_begins_before_the_last_is_judged(start: Start) -> None:
    runner, pool = start("in_turn", jobs_ahead=0)
    for fold in range(NUM_FOLDS):
        assert folds(runner.step()) == [fold]
        assert pool.jobs == [(number, EPOCHS) for number in range(fold + 1)]


def test_together_each_step_is_an_epoch_of_all_folds(start: Start) -> None:
    """The mean of the folds is 0.25, and 3, 2 and 1 more before the last epoch."""
    reports = run(start("together", num_groups=2)[0])
    assert [report["epoch"] for report in reports] == [1, 2, 3, 4]
    assert [report["score"] for report in reports] == [3.25, 2.25, 1.25, 0.25]
    assert reports[0]["epoch_scores"] == [(0, 3.125), (1, 3.25), (2, 3.375)]
    assert [sorted(folds(report)) for report in reports] == [[], [], [], [0, 1, 2]]
    assert [report["complete"] for report in reports] == [False, False, False, True]


def test_a_trial_out_of_time_ends_with_the_folds_that_it_has(start: Start) -> None:
    runner, pool = start("in_turn", hangs=lambda job: job.fold == 1, max_seconds=1e6)
    assert folds(runner.step()) == [0]
    runner._deadline = 0.0
    last = runner.step()
    assert (last["done"], last["complete"], last["error"]) == (True, False, None)
    assert (last["score"], last["folds"]) == (0.125, [])
    assert pool.client.acquire("digits", "0008", 1) == 1  # the group was given back
    assert pool.cancelled == [1]


def test_a_trial_out_of_time_ends_with_the_epochs_that_it_has(start: Start) -> None:
    runner, _ = start("together", hangs=lambda job: job.until_epoch == 3, max_seconds=1e6)
    assert [runner.step()["score"] for _ in range(2)] == [3.25, 2.25]
    runner._deadline = 0.0
    last = runner.step()
    assert (last["done"], last["complete"], last["error"]) == (True, False, None)
    assert (last["score"], last["folds"]) == (2.25, [])


def test_a_trial_that_has_nothing_when_its_time_is_up_has_no_score(start: Start) -> None:
    runner, _ = start("in_turn", hangs=lambda job: True, max_seconds=0.01)
    [report] = run(runner)
    assert (report["score"], report["num_folds"], report["done"]) == (None, 0, True)
    assert not report["complete"]


def test_folds_in_training_are_cancelled_when_the_trial_is_released(start: Start) -> None:
    """With two groups: fold 0 has been reported, fold 1 still trains, and it is dropped."""
    runner, pool = start("in_turn", num_groups=2, hangs=lambda job: job.fold != 0)
    assert folds(runner.step()) == [0]
    pool.client.release("digits", "0007")
    assert pool.client.acquire("digits", "0008", 2) == 2  # both groups are free again
    assert sorted(pool.cancelled) == [1, 2]


def test_an_interrupted_trial_says_so(start: Start) -> None:
    runner, pool = start("in_turn", hangs=lambda job: True, max_seconds=1e6)
    pool.client.interrupt()
    assert runner.step() == {"interrupted": True, "done": True}


FULL = "No space left on device"


@pytest.mark.parametrize("order", ["in_turn", "together"])
def test_a_fault_of_the_machine_is_told_and_its_fold_is_trained_again(
    start: Start, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rayfold.tuning.trainable.RETRY_SECONDS", 0.01)
    runner, pool = start(order)
    pool.faults = {1: FULL}
    reports = run(runner)
    assert [report.get("fault") for report in reports].count(FULL) == 1
    assert {report.get("error") for report in reports} == {None}
    assert reports[-1]["complete"]
    assert (reports[-1]["score"], reports[-1]["num_folds"]) == (0.25, 3)
    assert pool.jobs.count((1, EPOCHS if order == "in_turn" else 1)) == 2


def test_waiting_for_the_machine_is_no_time_of_the_trials(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rayfold.tuning.trainable.RETRY_SECONDS", 0.01)
    runner, pool = start("in_turn", max_seconds=1e6)
    pool.faults = {0: FULL}
    assert runner.step()["fault"] == FULL
    deadline = runner._deadline
    runner.step()
    assert runner._deadline == deadline + 0.01


def test_states_are_written_again_when_the_disk_was_full(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rayfold.tuning.trainable.RETRY_SECONDS", 0.01)
    runner, pool = start("together")
    runner.step()
    pool.faults = {2: FULL}
    runner.save_checkpoint(str(tmp_path))
    assert sorted(pool.saved) == [(fold, 1, 0) for fold in (0, 0, 1, 1, 2, 2)]


def test_the_next_trial_in_the_same_process_has_its_own_time(start: Start, tmp_path: Path) -> None:
    runner, _ = start("together", max_seconds=1e6)
    run(runner)
    runner.reset_config(
        {"study": "digits", "trial": "0008", "hyperparameters": {"batch_size": 16}}
    )
    reports = run(runner)
    assert [report["epoch"] for report in reports] == [1, 2, 3, 4]
    runner.save_checkpoint(str(tmp_path))
    assert json.loads((tmp_path / "folds.json").read_text())["trial"] == "0008"


def test_at_a_milestone_all_folds_write_their_state_and_the_groups_are_given_back(
    start: Start, tmp_path: Path
) -> None:
    runner, pool = start("together", milestones=[2])
    runner.step()
    assert pool.saved == []
    assert runner.step()["epoch"] == 2
    assert sorted(pool.saved) == [(0, 2, 0), (1, 2, 0), (2, 2, 0)]
    runner.save_checkpoint(str(tmp_path))  # needs no groups, and no more jobs
    assert pool.client.acquire("digits", "0008", 1) == 1
    pool.client.release("digits", "0008")
    assert [report["epoch"] for report in run(runner)] == [3, 4]
    assert len(pool.saved) == NUM_FOLDS


def test_a_trial_goes_on_after_the_epoch_of_a_checkpoint_in_its_own_lineage(
    start: Start, tmp_path: Path
) -> None:
    """As one does that has taken over another's states after epoch 2."""
    runner, pool = start("together", milestones=[2, 3])
    write_pointer(tmp_path, "0004", 2)
    runner.reset_config({"study": "digits", "trial": "0007", "lineage": 5, "hyperparameters": {}})
    runner.load_checkpoint(str(tmp_path))
    assert [report["epoch"] for report in run(runner)] == [3, 4]
    assert sorted(pool.saved) == [(0, 3, 5), (1, 3, 5), (2, 3, 5)]


def test_a_trial_taken_up_begins_with_the_last_epoch_that_all_folds_have(start: Start) -> None:
    """Fold 1 has trained 3 epochs, the others 2: nothing is trained or reported before that."""
    runner, pool = start("together", milestones=[2])
    pool.reached = {0: 2, 1: 3, 2: 2}
    reports = run(runner)
    assert [report["epoch"] for report in reports] == [2, 3, 4]
    assert reports[0]["epoch_scores"] == [(0, 2.125), (1, 2.25), (2, 2.375)]
    assert sorted(pool.jobs[:6]) == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_trial_that_diverges_waits_for_its_folds_and_goes_on_as_it_is_told(
    start: Start, tmp_path: Path
) -> None:
    runner, pool = start("together", milestones=[2])
    runner.step()
    pool.errors = {0: ("fold 0 diverged", True)}
    report = runner.step()
    assert (report["error"], report["diverged"]) == ("fold 0 diverged", True)
    assert (report["score"], report["done"]) == (None, False)
    assert [fold for fold, epoch in pool.jobs if epoch == 2] == [0, 1, 2]
    assert pool.client.acquire("digits", "0008", 1) == 1  # the groups are free
    pool.client.release("digits", "0008")
    write_pointer(tmp_path, "0004", 2)
    runner.reset_config({"study": "digits", "trial": "0007", "lineage": 1, "hyperparameters": {}})
    runner.load_checkpoint(str(tmp_path))
    assert [report["epoch"] for report in run(runner)] == [3, 4]


@pytest.mark.parametrize(
    ("milestones", "errors"),
    [([], {0: ("diverged", True)}), ([2], {0: ("Traceback", False), 1: ("diverged", True)})],
)
def test_any_other_error_ends_a_trial_and_so_does_divergence_without_milestones(
    start: Start, milestones: list[int], errors: dict[int, tuple[str, bool]]
) -> None:
    runner, pool = start("together", milestones=milestones)
    pool.errors = dict(errors)
    report = runner.step()
    assert (report["error"], report["done"]) == (errors[0][0], True)
    assert "diverged" not in report

import asyncio
import functools
import math
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pytest

from rayfold.groups import dispatcher as dispatcher_module
from rayfold.groups.dispatcher import MAX_ATTEMPTS, Dispatcher
from rayfold.groups.snapshot import SHOWN_GROUPS
from rayfold.jobs import FoldJob, FoldOutcome, Reply

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

DEADLINE_SECONDS = 10.0


def in_a_loop(
    scenario: Callable[Parameters, Coroutine[Any, Any, None]],
) -> Callable[Parameters, None]:
    """Make a plain test of a coroutine."""

    @functools.wraps(scenario)
    def test(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        asyncio.run(scenario(*args, **kwargs))

    return test


class Worker:
    """Rank 0 of a group, one call at a time."""

    def __init__(self, dispatcher: Dispatcher, group: int) -> None:
        self.dispatcher, self.group = dispatcher, group
        self.token = ""

    async def announce(self) -> "Worker":
        """Enter the pool, for the first time or after a death."""
        self.token = await self.dispatcher.announce(self.group, "node", 100 + self.group)
        return self

    def ask(self, outcome: FoldOutcome | None = None) -> "asyncio.Task[Reply]":
        """Hand in an outcome and ask for a job, without waiting for it."""
        return begin(self.dispatcher.exchange(self.group, self.token, outcome))

    async def job(self, outcome: FoldOutcome | None = None) -> FoldJob:
        """Return the next job."""
        reply = await soon(self.ask(outcome))
        assert reply.job is not None
        return reply.job

    async def beat(self, epoch: int = 1) -> bool:
        """Return whether the job in training should end."""
        return await soon(self.listen(epoch))

    def listen(self, epoch: int = 1) -> "asyncio.Task[bool]":
        """Tell how far the job in training is, and wait for a reason to end it."""
        return begin(self.dispatcher.listen(self.group, self.token, epoch))

    async def die(self, cause: str, details: str = "") -> bool:
        """Return whether the group is to be started again."""
        return await self.dispatcher.group_died(self.group, cause, details)

    def fall_silent(self, seconds: float = dispatcher_module.LOST_SECONDS + 1) -> None:
        """Let the group have been silent, for longer than the dispatcher bears if not told."""
        self.dispatcher._groups[self.group].last_seen -= seconds


@pytest.fixture(autouse=True)
def _no_time_between_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let who tells how far it is have an answer at once."""
    monkeypatch.setattr(dispatcher_module, "BEAT_SECONDS", 0.0)
    monkeypatch.setattr(dispatcher_module, "BEATS_PER_SECOND", math.inf)


def begin(coroutine: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
    return asyncio.get_running_loop().create_task(coroutine)


async def stopping(dispatcher: Dispatcher) -> list[float]:
    return [group.stopping_seconds for group in (await dispatcher.snapshot()).groups]


async def soon(awaitable: Awaitable[Result]) -> Result:
    return await asyncio.wait_for(awaitable, DEADLINE_SECONDS)


async def is_waiting(call: "asyncio.Task[Any]") -> bool:
    """Let all others do what they can, and tell whether ``call`` still waits."""
    for _ in range(20):
        await asyncio.sleep(0)
    return not call.done()


async def make_pool(num_groups: int) -> tuple[Dispatcher, list[Worker]]:
    dispatcher = Dispatcher()
    workers = [Worker(dispatcher, number) for number in range(num_groups)]
    return dispatcher, [await worker.announce() for worker in workers]


def make_job(trial: str, fold: int = 0, until_epoch: int = 3) -> FoldJob:
    return FoldJob(trial=trial, config={"batch_size": 32}, fold=fold, until_epoch=until_epoch)


def done(job: FoldJob) -> FoldOutcome:
    return FoldOutcome(job=job, epoch=job.until_epoch)


async def lent(dispatcher: Dispatcher, trial: str, *folds: int, num_groups: int = 1) -> None:
    """Lend groups to a trial at once, and queue jobs for its folds."""
    assert await soon(dispatcher.acquire(trial, num_groups)) == num_groups
    await dispatcher.submit(trial, [make_job(trial, fold) for fold in folds])


class TestLending:
    @in_a_loop
    async def test_a_trial_takes_all_its_groups_or_waits(self) -> None:
        dispatcher, _ = await make_pool(2)
        await lent(dispatcher, "0000")
        second = begin(dispatcher.acquire("0001", 2))
        assert await is_waiting(second)
        await dispatcher.release("0000")
        assert await soon(second) == 2

    @in_a_loop
    async def test_first_come_is_first_served_even_where_a_later_one_would_fit(self) -> None:
        dispatcher, _ = await make_pool(2)
        await lent(dispatcher, "0000")
        second, third = begin(dispatcher.acquire("0001", 2)), begin(dispatcher.acquire("0002", 1))
        assert await is_waiting(third)
        assert (await dispatcher.snapshot()).num_waiting == 2
        await dispatcher.release("0000")
        assert await soon(second) == 2
        assert await is_waiting(third)
        await dispatcher.release("0001")
        assert await soon(third) == 1

    @in_a_loop
    async def test_where_the_pool_is_smaller_a_trial_takes_the_whole_pool(self) -> None:
        dispatcher, _ = await make_pool(2)
        assert await soon(dispatcher.acquire("0000", 5)) == 2

    @in_a_loop
    async def test_a_trial_waits_for_the_first_group(self) -> None:
        dispatcher = Dispatcher()
        waiting = begin(dispatcher.acquire("0000", 2))
        assert await is_waiting(waiting)
        await Worker(dispatcher, 0).announce()
        assert await soon(waiting) == 1

    @in_a_loop
    async def test_a_trial_that_comes_back_gives_its_groups_back_first(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        await worker.job()
        again = begin(dispatcher.acquire("0000", 1))
        assert await is_waiting(again)
        assert await worker.beat()
        waiting = worker.ask(done(make_job("0000")))
        assert await soon(again) == 1
        assert await is_waiting(waiting)  # the old job went with the old lease

    @in_a_loop
    async def test_to_release_what_is_not_held_does_nothing(self) -> None:
        dispatcher, _ = await make_pool(1)
        await dispatcher.release("0000")
        await lent(dispatcher, "0001")

    @in_a_loop
    async def test_a_trial_that_gives_up_waiting_leaves_the_queue(self) -> None:
        dispatcher, _ = await make_pool(1)
        await lent(dispatcher, "0000")
        second, third = begin(dispatcher.acquire("0001", 1)), begin(dispatcher.acquire("0002", 1))
        assert await is_waiting(third)
        await dispatcher.release("0001")
        assert await soon(second) == 0
        await dispatcher.release("0000")
        assert await soon(third) == 1

    @in_a_loop
    async def test_no_group_is_ever_lent_twice_and_every_job_is_trained_once(self) -> None:
        """40 trials of 1 to 5 folds take 1 to 3 of 3 groups, in a shuffled dance."""
        generator = np.random.default_rng(0)
        dispatcher, workers = await make_pool(3)
        in_use: dict[str, int] = {}
        trained: list[tuple[str, str, int]] = []

        async def dawdle() -> None:
            for _ in range(int(generator.integers(5))):
                await asyncio.sleep(0)

        async def serve(worker: Worker) -> None:
            outcome = None
            while not (reply := await worker.ask(outcome)).stop:
                assert reply.job is not None
                assert reply.job.trial in in_use
                trained.append(reply.job.key)
                await dawdle()
                outcome = done(reply.job)

        async def run(trial: str) -> None:
            wanted, num_folds = (int(generator.integers(1, high)) for high in (4, 6))
            await dawdle()
            in_use[trial] = await dispatcher.acquire(trial, wanted)
            assert in_use[trial] == wanted
            assert sum(in_use.values()) <= 3
            await dispatcher.submit(trial, [make_job(trial, fold) for fold in range(num_folds)])
            folds: list[int] = []
            while len(folds) < num_folds:
                folds += [outcome.job.fold for outcome in await dispatcher.wait(trial)]
            assert sorted(folds) == list(range(num_folds))
            del in_use[trial]
            await dispatcher.release(trial)

        servers = [begin(serve(worker)) for worker in workers]
        await soon(asyncio.gather(*(run(f"{number:04d}") for number in range(40))))
        await dispatcher.stop()
        await soon(asyncio.gather(*servers))
        assert len(trained) == len(set(trained)) >= 40


class TestOrders:
    @in_a_loop
    async def test_a_job_goes_out_and_its_outcome_comes_back(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        outcomes = begin(dispatcher.wait("0000"))
        job = await worker.job()
        assert job == make_job("0000")
        assert await is_waiting(outcomes)
        worker.ask(done(job))
        assert await soon(outcomes) == [done(job)]

    @in_a_loop
    async def test_a_group_that_asks_first_gets_the_job_when_it_comes(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        asked = worker.ask()
        assert await is_waiting(asked)
        await lent(dispatcher, "0000", 0)
        assert (await soon(asked)).job == make_job("0000")

    @in_a_loop
    async def test_a_groups_jobs_come_in_the_order_of_submission(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 2, 0, 1)
        first = await worker.job()
        second = await worker.job(done(first))
        third = await worker.job(done(second))
        assert [first.fold, second.fold, third.fold] == [2, 0, 1]

    @in_a_loop
    async def test_a_folds_later_jobs_go_to_the_group_that_holds_it(self) -> None:
        dispatcher, [first, second] = await make_pool(2)
        await lent(dispatcher, "0000", 0, 1, num_groups=2)
        jobs = [await first.job(), await second.job()]
        assert [job.fold for job in jobs] == [0, 1]
        await dispatcher.submit("0000", [make_job("0000", 1, 4)])
        free = first.ask(done(jobs[0]))
        assert await is_waiting(free)
        assert await second.job(done(jobs[1])) == make_job("0000", 1, 4)
        await dispatcher.submit("0000", [make_job("0000", 1, 5), make_job("0000", 0, 4)])
        assert (await soon(free)).job == make_job("0000", 0, 4)

    @in_a_loop
    async def test_the_next_trial_knows_nothing_of_the_last_ones_homes(self) -> None:
        dispatcher, [first, second] = await make_pool(2)
        await lent(dispatcher, "0000", 0, 1, num_groups=2)
        jobs = [await first.job(), await second.job()]
        await dispatcher.release("0000")
        answers = [first.ask(done(jobs[0])), second.ask(done(jobs[1]))]
        await lent(dispatcher, "0000", 1, num_groups=2)
        assert (await soon(answers[0])).job == make_job("0000", 1)
        assert await is_waiting(answers[1])

    @in_a_loop
    async def test_a_fold_goes_to_the_group_that_takes_it_of_every_trial_if_that_is_free(
        self,
    ) -> None:
        """Folds 0 and 2 to the first of two groups, 1 and 3 to the second; then what is left."""
        dispatcher, [first, second] = await make_pool(2)
        await lent(dispatcher, "0000", 1, 0, 3, 2, 5, num_groups=2)
        jobs = [await first.job()]
        for _ in range(2):
            jobs.append(await first.job(done(jobs[-1])))
        assert [job.fold for job in jobs] == [0, 2, 1]
        assert [(await second.job()).fold] == [3]

    @in_a_loop
    async def test_without_a_job_a_group_is_told_to_ask_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dispatcher_module, "POLL_SECONDS", 0.0)
        _, [worker] = await make_pool(1)
        assert await soon(worker.ask()) == Reply(job=None, stop=False)

    @in_a_loop
    async def test_the_snapshot_tells_what_each_group_trains_and_how_far_it_is(self) -> None:
        dispatcher, [first, _] = await make_pool(2)
        await lent(dispatcher, "0000", 4)
        await first.job()
        assert await first.beat(epoch=7) is False
        snapshot = await dispatcher.snapshot()
        assert snapshot.num_busy == 1
        busy, idle = snapshot.groups
        assert (busy.group, busy.node, busy.process_id) == (0, "node", 100)
        assert (busy.trial, busy.fold, busy.epoch, busy.num_starts) == ("0000", 4, 7, 1)
        assert (idle.group, idle.trial, idle.fold, idle.epoch) == (1, None, None, 0)

    @in_a_loop
    async def test_a_wait_for_outcomes_ends_after_its_time(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        job = await worker.job()
        assert await soon(dispatcher.wait("0000", 0.0)) == []
        assert await soon(dispatcher.wait("0000", 0.01)) == []
        outcome = done(job)
        worker.ask(outcome)
        assert await soon(dispatcher.wait("0000", DEADLINE_SECONDS)) == [outcome]


class TestGivingBack:
    @in_a_loop
    async def test_a_job_in_training_ends_when_its_trial_gives_its_groups_back(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0, 1)
        job = await worker.job()
        assert await worker.beat() is False
        await dispatcher.release("0000")
        assert await worker.beat() is True
        next_trial = begin(dispatcher.acquire("0001", 1))
        assert await is_waiting(next_trial)  # the group is not free before its epoch is over
        worker.ask(FoldOutcome(job=job, epoch=2))
        assert await soon(next_trial) == 1
        assert await dispatcher.wait("0000") == []

    @in_a_loop
    async def test_the_next_job_is_not_cancelled_with_the_last(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        job = await worker.job()
        await dispatcher.release("0000")
        answer = worker.ask(done(job))
        await lent(dispatcher, "0001", 0)
        assert (await soon(answer)).job == make_job("0001")
        assert await worker.beat() is False

    @in_a_loop
    async def test_a_late_outcome_never_reaches_the_next_trial(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        job = await worker.job()
        await dispatcher.release("0000")
        worker.ask(done(job))
        await lent(dispatcher, "0001", 0)
        outcomes = begin(dispatcher.wait("0001"))
        assert await is_waiting(outcomes)

    @in_a_loop
    async def test_who_waits_for_outcomes_of_a_released_trial_gets_none(self) -> None:
        dispatcher, _ = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        outcomes = begin(dispatcher.wait("0000"))
        assert await is_waiting(outcomes)
        await dispatcher.release("0000")
        assert await soon(outcomes) == []


class TestListening:
    """A call per group that waits, instead of many that ask."""

    @pytest.fixture(autouse=True)
    def _much_time_between_calls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dispatcher_module, "BEAT_SECONDS", math.inf)

    @in_a_loop
    async def test_who_listens_is_told_at_once_that_its_trial_has_given_up(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        await worker.job()
        listening = worker.listen()
        assert await is_waiting(listening)
        await dispatcher.release("0000")
        assert await soon(listening) is True

    @in_a_loop
    @pytest.mark.parametrize("end", [Dispatcher.interrupt, Dispatcher.stop])
    async def test_who_listens_is_told_at_once_of_the_end(
        self, end: Callable[[Dispatcher], Coroutine[Any, Any, None]]
    ) -> None:
        dispatcher, workers = await make_pool(3)
        await lent(dispatcher, "0000", 0, 1, 2, num_groups=3)
        for worker in workers:
            await worker.job()
        listening = [worker.listen() for worker in workers]
        assert await is_waiting(listening[0])
        await end(dispatcher)
        assert await soon(asyncio.gather(*listening)) == [True, True, True]

    @in_a_loop
    async def test_who_listens_with_an_old_token_is_told_at_once(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        await worker.job()
        old = worker.listen()
        assert await is_waiting(old)
        await worker.announce()
        assert await soon(old) is True
        await worker.job()
        assert await is_waiting(worker.listen())

    @in_a_loop
    async def test_who_still_listens_at_the_next_job_is_told_of_that_one(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0, 1)
        job = await worker.job()
        listening = worker.listen()
        await worker.job(done(job))
        assert await is_waiting(listening)
        await dispatcher.release("0000")
        assert await soon(listening) is True

    @in_a_loop
    async def test_in_a_large_pool_each_group_calls_less_often_and_none_is_lost(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """5 groups that may call 0.02 times a second: each every 250 s, silent for 500 s."""
        monkeypatch.setattr(dispatcher_module, "BEAT_SECONDS", 1.0)
        monkeypatch.setattr(dispatcher_module, "BEATS_PER_SECOND", 0.02)
        dispatcher, workers = await make_pool(5)
        assert dispatcher._beat_seconds == 250.0
        workers[0].fall_silent(490.0)
        assert (await dispatcher.snapshot()).num_groups == 5
        workers[0].fall_silent(20.0)
        assert (await dispatcher.snapshot()).num_groups == 4


class TestManyGroups:
    @in_a_loop
    async def test_a_snapshot_counts_all_groups_and_describes_the_first(self) -> None:
        dispatcher, workers = await make_pool(SHOWN_GROUPS + 10)
        await lent(dispatcher, "0000", 0)
        await workers[0].job()
        snapshot = await dispatcher.snapshot()
        assert (snapshot.num_groups, snapshot.num_busy) == (SHOWN_GROUPS + 10, 1)
        assert [group.group for group in snapshot.groups] == list(range(SHOWN_GROUPS))

    @in_a_loop
    async def test_groups_arrive_once_whatever_becomes_of_them(self) -> None:
        dispatcher, [first, second] = await make_pool(2)
        await second.announce()
        first.fall_silent()
        snapshot = await dispatcher.snapshot()
        assert (snapshot.num_arrived, snapshot.num_groups) == (2, 1)
        arrivals = await dispatcher.arrivals()
        assert [arrival.group for arrival in arrivals] == [0, 1]
        assert snapshot.ready_at == arrivals[0].ready_at

    @in_a_loop
    async def test_trials_get_the_groups_with_the_smallest_numbers_that_are_free(self) -> None:
        dispatcher, workers = await make_pool(4)
        for trial in range(4):
            await lent(dispatcher, f"{trial:04d}")
        for trial in (2, 0, 3):
            await dispatcher.release(f"{trial:04d}")
        await lent(dispatcher, "0004", 0, 1, num_groups=2)
        jobs = [begin(worker.job()) for worker in workers]
        assert (await soon(jobs[0])).fold == 0
        assert (await soon(jobs[2])).fold == 1
        assert await is_waiting(jobs[3])

    @in_a_loop
    async def test_a_thousand_groups_and_more_trials_take_turns(self) -> None:
        """1,000 groups, 1,500 trials of two folds: each fold is trained once."""
        dispatcher, workers = await make_pool(1000)
        trained: list[tuple[str, int]] = []

        async def serve(worker: Worker) -> None:
            outcome = None
            while not (reply := await worker.ask(outcome)).stop:
                assert reply.job is not None
                trained.append((reply.job.trial, reply.job.fold))
                outcome = done(reply.job)

        async def run(trial: str) -> None:
            assert await dispatcher.acquire(trial, 1) == 1
            await dispatcher.submit(trial, [make_job(trial, fold) for fold in range(2)])
            folds: list[int] = []
            while len(folds) < 2:
                folds += [outcome.job.fold for outcome in await dispatcher.wait(trial)]
            await dispatcher.release(trial)

        servers = [begin(serve(worker)) for worker in workers]
        await asyncio.gather(*(run(f"{number:04d}") for number in range(1500)))
        await dispatcher.stop()
        await asyncio.gather(*servers)
        assert sorted(trained) == [
            (f"{number:04d}", fold) for number in range(1500) for fold in range(2)
        ]


class TestDeaths:
    @in_a_loop
    async def test_a_restarted_group_gets_its_job_again_and_first(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0, 1)
        assert (await worker.job()).fold == 0
        await worker.announce()
        again = await worker.job()
        assert again == make_job("0000", 0)
        assert (await worker.job(done(again))).fold == 1
        [state] = (await dispatcher.snapshot()).groups
        assert state.num_starts == 2

    @in_a_loop
    async def test_another_group_of_the_trial_may_take_the_job_over(self) -> None:
        dispatcher, [first, second] = await make_pool(2)
        await lent(dispatcher, "0000", 0, 1, 2, num_groups=2)
        assert (await first.job()).fold == 0
        job = await second.job()
        await first.announce()
        assert (await second.job(done(job))).fold == 0
        assert (await first.job()).fold == 2

    @in_a_loop
    async def test_the_third_death_on_a_job_fails_it_alone(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0, 1)
        for _ in range(3):
            assert (await worker.job()).fold == 0
            await worker.announce()
        [outcome] = await soon(dispatcher.wait("0000"))
        assert outcome.job == make_job("0000", 0)
        assert outcome.error is not None
        assert outcome.error == "it started anew; 3 attempts at fold 0 ended like this."
        assert (await worker.job()).fold == 1

    @in_a_loop
    async def test_deaths_count_though_the_trials_actor_dies_each_time_too(self) -> None:
        """Ray that is short of memory ends both; the trial comes back and gives the job anew."""
        dispatcher, [worker] = await make_pool(1)
        for _ in range(3):
            await lent(dispatcher, "0000", 0)
            assert (await worker.job()).fold == 0
            await dispatcher.release("0000")
            await dispatcher.group_died(0, "its node ran out of memory")
            await worker.announce()
        await lent(dispatcher, "0000", 0)
        [outcome] = await soon(dispatcher.wait("0000"))
        assert outcome.error == (
            "its node ran out of memory; 3 attempts at fold 0 ended like this."
        )

    @in_a_loop
    async def test_a_fold_that_is_trained_forgets_its_deaths(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        pending = begin(worker.job())
        for _ in range(2):
            for _ in range(2):
                await pending
                await worker.announce()
                pending = begin(worker.job())
            pending = begin(worker.job(done(await pending)))
            [outcome] = await soon(dispatcher.wait("0000"))
            assert outcome.error is None
            await dispatcher.submit("0000", [make_job("0000", 0)])
        assert (await pending).fold == 0

    @in_a_loop
    async def test_a_death_between_two_jobs_costs_nothing(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        for _ in range(5):
            await worker.announce()
        await lent(dispatcher, "0000", 0)
        assert await worker.job() == make_job("0000", 0)

    @in_a_loop
    async def test_a_death_after_the_trial_gave_up_frees_the_group(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        await worker.job()
        await dispatcher.release("0000")
        await worker.announce()
        await lent(dispatcher, "0001", 0)
        assert await worker.job() == make_job("0001", 0)

    @in_a_loop
    async def test_an_old_token_is_told_to_stop_and_changes_nothing(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        job, old = await worker.job(), worker.token
        await worker.announce()
        again = await worker.job()
        assert await soon(dispatcher.exchange(0, old, done(job))) == Reply(stop=True)
        assert await soon(dispatcher.listen(0, old, 9)) is True
        assert await soon(dispatcher.rank_failed(0, old, 0, 1, "too late")) is False
        [state] = (await dispatcher.snapshot()).groups
        assert (state.trial, state.epoch) == ("0000", 0)
        worker.ask(done(again))
        assert await soon(dispatcher.wait("0000")) == [done(again)]

    @in_a_loop
    async def test_an_old_worker_that_still_waits_is_told_to_stop(self) -> None:
        _, [worker] = await make_pool(1)
        old = worker.ask()
        assert await is_waiting(old)
        await worker.announce()
        assert await soon(old) == Reply(stop=True)


class TestLostGroups:
    @in_a_loop
    async def test_a_silent_groups_job_goes_to_another_group(self) -> None:
        dispatcher, [first, second] = await make_pool(2)
        await lent(dispatcher, "0000", 0)
        await first.job()
        first.fall_silent()
        assert [group.group for group in (await dispatcher.snapshot()).groups] == [1]
        assert await second.job() == make_job("0000", 0)

    @in_a_loop
    async def test_one_that_was_only_slow_comes_back_and_its_outcome_counts_no_more(self) -> None:
        dispatcher, [first, second] = await make_pool(2)
        await lent(dispatcher, "0000", 0)
        late = await first.job()
        first.fall_silent()
        await dispatcher.snapshot()
        job = await second.job()
        free = first.ask(done(late))
        outcomes = begin(dispatcher.wait("0000"))
        assert await is_waiting(outcomes)
        assert (await dispatcher.snapshot()).num_groups == 2
        second.ask(done(job))
        assert await soon(outcomes) == [done(job)]
        await lent(dispatcher, "0001", 0)
        assert (await soon(free)).job == make_job("0001")

    @in_a_loop
    async def test_one_that_was_only_slow_should_end_what_another_trains_now(self) -> None:
        dispatcher, [first, _] = await make_pool(2)
        await lent(dispatcher, "0000", 0)
        await first.job()
        first.fall_silent()
        await dispatcher.snapshot()
        assert await first.beat() is True

    @in_a_loop
    async def test_a_trial_that_loses_its_only_group_waits_for_the_next_and_first(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        await worker.job()
        other = begin(dispatcher.acquire("0001", 1))
        assert await is_waiting(other)
        worker.fall_silent()
        snapshot = await dispatcher.snapshot()
        assert (snapshot.groups, snapshot.num_waiting) == ((), 2)
        await worker.announce()
        assert await worker.job() == make_job("0000", 0)
        assert await is_waiting(other)

    @in_a_loop
    async def test_a_trial_that_loses_one_of_two_groups_goes_on_with_the_other(self) -> None:
        dispatcher, [first, second] = await make_pool(2)
        await lent(dispatcher, "0000", 0, 1, num_groups=2)
        await first.job()
        job = await second.job()
        first.fall_silent()
        await dispatcher.snapshot()
        assert await second.job(done(job)) == make_job("0000", 0)

    @in_a_loop
    async def test_an_idle_silent_group_is_lent_to_nobody_until_it_asks_again(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        worker.fall_silent()
        await dispatcher.snapshot()
        waiting = begin(dispatcher.acquire("0000", 1))
        assert await is_waiting(waiting)
        worker.ask()
        assert await soon(waiting) == 1

    @in_a_loop
    async def test_a_job_of_a_dead_group_goes_to_another_if_the_group_does_not_come_back(
        self,
    ) -> None:
        dispatcher, [first, second] = await make_pool(2)
        await lent(dispatcher, "0000", 0)
        await first.job()
        await first.die("its node is gone")
        second_waits = second.ask()
        assert await is_waiting(second_waits)  # the first may come back soon
        dispatcher._groups[0].last_seen -= dispatcher_module.LOST_SECONDS + 1
        snapshot = await dispatcher.snapshot()
        assert (await soon(second_waits)).job == make_job("0000", 0)
        assert ([group.group for group in snapshot.groups], snapshot.broken) == ([1], "")


class TestDyingGroups:
    @in_a_loop
    async def test_its_job_goes_to_the_other_group_of_its_trial_at_once(self) -> None:
        dispatcher, [first, second] = await make_pool(2)
        await lent(dispatcher, "0000", 0, 1, num_groups=2)
        await first.job()
        other = await second.job()
        assert await first.die("killed") is True
        assert await second.job(done(other)) == make_job("0000", 0)

    @in_a_loop
    async def test_it_is_lent_to_nobody_until_it_is_back(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await worker.die("killed")
        waiting = begin(dispatcher.acquire("0000", 1))
        assert await is_waiting(waiting)
        assert (await dispatcher.snapshot()).groups == ()
        await worker.announce()
        assert await soon(waiting) == 1

    @in_a_loop
    async def test_what_it_still_says_counts_no_more(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        job = await worker.job()
        await worker.die("killed")
        assert (await soon(worker.ask(done(job)))).stop is True

    @in_a_loop
    async def test_one_that_cannot_start_is_given_up_at_the_third_death(self) -> None:
        dispatcher, _ = await make_pool(1)
        deaths = [await dispatcher.group_died(1, "no module named 'net'") for _ in range(3)]
        assert deaths == [True, True, False]
        assert (await dispatcher.snapshot()).broken == (
            "group 1 has ended 3 times in a row before it took a job: no module named 'net'."
        )

    @in_a_loop
    async def test_one_that_dies_idle_is_given_up_unless_it_does_something_in_between(
        self,
    ) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        rebuilt = [await worker.die("killed"), await (await worker.announce()).die("killed")]
        await worker.announce()
        worker.ask(done(await worker.job()))
        await soon(dispatcher.wait("0000"))
        for _ in range(4):
            rebuilt.append(await worker.die("killed"))
            await worker.announce()
        assert rebuilt == [True, True, True, True, True, False]

    @in_a_loop
    async def test_one_that_dies_at_its_jobs_is_started_again_however_often(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        for trial in range(3):
            await lent(dispatcher, f"{trial:04}", 0)
            for _ in range(MAX_ATTEMPTS):
                await worker.job()
                assert await worker.die("it exited with status 3", 'File "net.py", line 7') is True
                await worker.announce()
            [outcome] = await soon(dispatcher.wait(f"{trial:04}"))
            assert outcome.error == (
                'File "net.py", line 7\n'
                "it exited with status 3; 3 attempts at fold 0 ended like this."
            )
            await dispatcher.release(f"{trial:04}")
        assert (await dispatcher.snapshot()).broken == ""

    @in_a_loop
    async def test_a_lost_node_is_counted_neither_against_the_group_nor_its_job(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        for _ in range(2 * MAX_ATTEMPTS):
            await worker.job()
            died = dispatcher.group_died(0, "its node is gone", node_lost=True)
            assert await died is True
            assert await dispatcher.group_died(0, "its node is gone", node_lost=True) is True
            await worker.announce()
        assert await worker.job() == make_job("0000", 0)


class TestGroupsThatDoNotStop:
    @in_a_loop
    async def test_the_time_counts_from_when_its_trial_is_over(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now)
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        job = await worker.job()
        now += 5
        assert await stopping(dispatcher) == [0.0]
        await dispatcher.release("0000")
        now += 5
        await dispatcher.interrupt()
        now += 5
        assert await stopping(dispatcher) == [10.0]
        worker.ask(done(job))
        await is_waiting(begin(dispatcher.snapshot()))
        assert await stopping(dispatcher) == [0.0]

    @in_a_loop
    async def test_idle_groups_have_nothing_to_end(self) -> None:
        dispatcher, _ = await make_pool(2)
        await dispatcher.stop()
        assert await stopping(dispatcher) == [0.0, 0.0]

    @in_a_loop
    async def test_one_that_fell_silent_is_named_until_it_is_known_to_be_dead(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        await worker.job()
        worker.fall_silent()
        assert (await dispatcher.snapshot()).silent == (0,)
        await worker.die("")
        assert (await dispatcher.snapshot()).silent == ()


class TestFailingRanks:
    @in_a_loop
    async def test_when_all_ranks_fail_the_group_goes_on(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0, 1)
        job = await worker.job()
        calls = [
            dispatcher.rank_failed(0, worker.token, rank, 2, f"error of {rank}")
            for rank in range(2)
        ]
        assert await soon(asyncio.gather(*calls)) == [True, True]
        failed = FoldOutcome(job=job, error="error of 0")
        assert (await worker.job(failed)).fold == 1
        assert await soon(dispatcher.wait("0000")) == [failed]

    @in_a_loop
    async def test_a_job_on_which_one_rank_fails_alone_is_tried_again_and_then_has_failed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dispatcher_module, "RANKS_SECONDS", 0.0)
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0, 1)
        for _ in range(MAX_ATTEMPTS):
            assert await worker.job() == make_job("0000", 0)
            failed = dispatcher.rank_failed(0, worker.token, 1, 2, "out of range")
            assert await soon(failed) is False
            await worker.announce()
        [outcome] = await soon(dispatcher.wait("0000"))
        assert outcome.job == make_job("0000", 0)
        assert re.search(r"^out of range; 3 attempts at fold 0 ended", outcome.error or "")
        assert (await worker.job()).fold == 1

    @in_a_loop
    async def test_a_fault_of_the_machine_on_one_rank_is_never_an_error_of_the_job(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dispatcher_module, "RANKS_SECONDS", 0.0)
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        for _ in range(MAX_ATTEMPTS + 1):
            assert await worker.job() == make_job("0000", 0)
            failed = dispatcher.rank_failed(0, worker.token, 1, 2, "OSError", "Input/output error")
            assert await soon(failed) is False
            await worker.announce()
            [outcome] = await soon(dispatcher.wait("0000"))
            assert outcome == FoldOutcome(job=make_job("0000", 0), fault="Input/output error")
            await dispatcher.submit("0000", [make_job("0000", 0)])

    @in_a_loop
    async def test_ranks_that_failed_on_one_job_have_not_failed_on_the_next(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dispatcher_module, "RANKS_SECONDS", 0.0)
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0, 1)
        job = await worker.job()
        first = dispatcher.rank_failed(0, worker.token, 0, 2, "")
        second = dispatcher.rank_failed(0, worker.token, 1, 2, "")
        assert list(await soon(asyncio.gather(first, second))) == [False, True]
        await worker.job(FoldOutcome(job=job, error=""))
        assert await soon(dispatcher.rank_failed(0, worker.token, 1, 2, "alone")) is False

    @in_a_loop
    async def test_the_first_rank_to_know_may_take_the_next_job_at_once(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0, 1)
        job = await worker.job()
        waiting = begin(dispatcher.rank_failed(0, worker.token, 1, 2, ""))
        assert await is_waiting(waiting)
        assert await soon(dispatcher.rank_failed(0, worker.token, 0, 2, "")) is True
        assert (await worker.job(FoldOutcome(job=job, error=""))).fold == 1
        assert await soon(waiting) is True

    @in_a_loop
    async def test_a_wait_for_the_others_ends_when_the_group_starts_anew(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dispatcher_module, "RANKS_SECONDS", math.inf)
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        await worker.job()
        failed = begin(dispatcher.rank_failed(0, worker.token, 1, 2, "alone"))
        assert await is_waiting(failed)
        await worker.announce()
        assert await soon(failed) is False
        assert await worker.job() == make_job("0000", 0)


class TestEnding:
    @in_a_loop
    async def test_an_interruption_ends_all_waiting(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        await worker.job()
        outcomes, groups = begin(dispatcher.wait("0000")), begin(dispatcher.acquire("0001", 1))
        assert await is_waiting(outcomes)
        assert await is_waiting(groups)
        await dispatcher.interrupt()
        assert await soon(outcomes) == []
        assert await soon(groups) == 0

    @in_a_loop
    async def test_after_an_interruption_training_ends_and_no_job_goes_out(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0, 1)
        job = await worker.job()
        await dispatcher.interrupt()
        assert await worker.beat() is True
        assert await is_waiting(worker.ask(done(job)))

    @in_a_loop
    async def test_outcomes_that_came_before_an_interruption_are_still_handed_out(self) -> None:
        dispatcher, [worker] = await make_pool(1)
        await lent(dispatcher, "0000", 0)
        worker.ask(done(await worker.job()))
        await is_waiting(begin(dispatcher.snapshot()))
        await dispatcher.interrupt()
        assert await soon(dispatcher.wait("0000")) == [done(make_job("0000"))]

    @in_a_loop
    async def test_stop_sends_every_group_home(self) -> None:
        dispatcher, [first, second] = await make_pool(2)
        await lent(dispatcher, "0000", 0)
        job = await first.job()
        idle = second.ask()
        assert await is_waiting(idle)
        await dispatcher.stop()
        assert await soon(idle) == Reply(stop=True)
        assert await first.beat() is True
        assert await soon(first.ask(done(job))) == Reply(stop=True)

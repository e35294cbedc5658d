"""Several dispatchers behind one client, without Ray."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from rayfold.groups.client import DispatcherClient
from rayfold.groups.dispatcher import Dispatcher
from rayfold.jobs import FoldJob, FoldOutcome, Reply

DEADLINE_SECONDS = 20.0


class LocalClient(DispatcherClient):
    """Calls dispatchers that run in another thread of this process."""

    def __init__(self, number: int) -> None:
        super().__init__([Dispatcher() for _ in range(number)])
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def end(self) -> None:
        self.stop()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def exchange_soon(self, group: int, token: str) -> Future[Reply]:
        future: Future[Reply] = self._send(Dispatcher.exchange, group, token, None)
        return future

    def _send_to(self, actor: Dispatcher, method: str, *args: Any, **kwargs: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(getattr(actor, method)(*args), self.loop)

    def _answer(self, reference: Any) -> Any:
        return reference.result(DEADLINE_SECONDS)


@pytest.fixture
def client() -> Iterator[LocalClient]:
    """Return a client of two dispatchers."""
    client = LocalClient(2)
    yield client
    client.end()


def fold_job(trial: str) -> FoldJob:
    return FoldJob(study="digits", trial=trial, config={}, fold=0, until_epoch=3)


def announce(client: LocalClient, number: int) -> list[str]:
    return [client.announce(group, f"node {group}", 100 + group) for group in range(number)]


def test_a_snapshot_is_that_of_all_groups_in_their_order(client: LocalClient) -> None:
    announce(client, 5)
    snapshot = client.snapshot()
    arrivals = client.arrivals()
    assert (snapshot.num_groups, snapshot.num_arrived, snapshot.num_busy) == (5, 5, 0)
    assert [group.group for group in snapshot.groups] == [0, 1, 2, 3, 4]
    assert sorted(arrival.group for arrival in arrivals) == [0, 1, 2, 3, 4]
    assert snapshot.ready_at == min(arrival.ready_at for arrival in arrivals)


def test_trials_are_spread_evenly_and_each_is_found_again(client: LocalClient) -> None:
    """Of 1,000 trials each of two dispatchers has about 500, and every job comes back."""
    tokens = announce(client, 1000)
    trials = [f"{number:04d}" for number in range(1000)]
    held = [actor._leases for actor in client._actors]
    for trial in trials[:800]:
        assert client.acquire("digits", trial, 1) == 1
        client.submit("digits", trial, [fold_job(trial)])
    assert [len(leases) for leases in held] == pytest.approx([400, 400], abs=40)
    trained = 0
    for group, token in enumerate(tokens):
        answer = client.exchange_soon(group, token)
        state = client._actors[group % 2]._groups[group]
        if state.lease is None:
            continue  # it waits
        reply = answer.result(DEADLINE_SECONDS)
        assert reply.job is not None
        outcome = FoldOutcome(job=reply.job, epoch=3)
        client._send(Dispatcher.exchange, group, token, outcome)
        assert client.wait("digits", reply.job.trial) == [outcome]
        client.release("digits", reply.job.trial)
        trained += 1
    assert trained == 800
    assert [len(leases) for leases in held] == [0, 0]


def test_an_interruption_and_the_end_reach_all_groups(client: LocalClient) -> None:
    tokens = announce(client, 4)
    listening = [
        client._send(Dispatcher.listen, group, token, 0) for group, token in enumerate(tokens)
    ]
    client.interrupt()
    assert [call.result(DEADLINE_SECONDS) for call in listening] == [True] * 4
    client.stop()
    for group, token in enumerate(tokens):
        assert client.exchange(group, token, None) == Reply(stop=True)


def test_a_group_that_cannot_start_is_told_by_any_dispatcher(client: LocalClient) -> None:
    announce(client, 1)
    assert [client.group_died(3, "it cannot import net") for _ in range(3)] == [True, True, False]
    assert client.snapshot().broken == (
        "group 3 has ended 3 times in a row before it took a job: it cannot import net."
    )
    assert client.snapshot().num_groups == 1


def test_of_groups_that_should_end_those_told_first_come_first(client: LocalClient) -> None:
    tokens = announce(client, 4)
    for number in range(8):
        client._send(Dispatcher.acquire, f"digits/{number:04d}", 1)
    client.snapshot()  # by then, those that can have a group have one
    holders = [
        (group, lease.trial.removeprefix("digits/"))
        for actor in client._actors
        for group, state in actor._groups.items()
        if (lease := state.lease) is not None
    ]
    for group, trial in holders:
        client.submit("digits", trial, [fold_job(trial)])
        assert client.exchange(group, tokens[group], None).job is not None
        client.release("digits", trial)
    stopping = client.snapshot().stopping
    assert [group.group for group in stopping] == [group for group, _ in holders]
    assert len(stopping) >= 2
    assert all(group.stopping_seconds > 0 for group in stopping)

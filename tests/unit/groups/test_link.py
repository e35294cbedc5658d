"""A group's connection to a real dispatcher, without Ray: what it is told, and when."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from types import SimpleNamespace
from typing import Any

import pytest

from rayfold.errors import DispatcherLostError
from rayfold.groups import dispatcher as dispatcher_module
from rayfold.groups.client import DispatcherClient
from rayfold.groups.dispatcher import Dispatcher
from rayfold.groups.group import GroupWork, _Link
from rayfold.jobs import FoldJob, FoldOutcome, Reply
from rayfold.training import SingleProcess

DEADLINE_SECONDS = 20.0


class MortalClient(DispatcherClient):
    """Calls a dispatcher that runs in another thread, and that may be ended at any time."""

    def __init__(self) -> None:
        super().__init__([Dispatcher()])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._is_dead = False

    def end(self) -> None:
        if self._is_dead:
            return
        self._is_dead = True

        async def cancel_all() -> None:
            calls = asyncio.all_tasks() - {asyncio.current_task()}
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(cancel_all(), self._loop).result(DEADLINE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _send_to(self, actor: Dispatcher, method: str, *args: Any, **kwargs: Any) -> Any:
        if self._is_dead:
            return None
        return asyncio.run_coroutine_threadsafe(getattr(actor, method)(*args), self._loop)

    def _answer(self, reference: Any) -> Any:
        try:
            if reference is not None:
                return reference.result(DEADLINE_SECONDS)
        except CancelledError:
            pass
        raise DispatcherLostError("it has died")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[MortalClient]:
    monkeypatch.setattr(dispatcher_module, "BEAT_SECONDS", 0.01)
    client = MortalClient()
    yield client
    client.end()


def connect(client: DispatcherClient) -> _Link:
    work = GroupWork(group=0, dispatcher=client, setups={}, data=None)
    return _Link(work, SingleProcess(), node="node")


def trainer(epoch: int = 0) -> Any:
    """Return what the link sees of one: how far the present fold is."""
    return SimpleNamespace(present=SimpleNamespace(epoch=epoch))


def lend(client: DispatcherClient, trial: str) -> FoldJob:
    """Lend the group to a trial and return the job that it gives."""
    job = FoldJob(study="digits", trial=trial, config={}, fold=0, until_epoch=3)
    assert client.acquire("digits", trial, 1) == 1
    client.submit("digits", trial, [job])
    return job


def reached(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


def test_the_dispatcher_hears_how_far_a_job_is(client: MortalClient) -> None:
    link = connect(client)
    lend(client, "0000")
    link.exchange(None)
    present = trainer()
    with link.training(present):
        for epoch in (1, 2):
            present.present.epoch = epoch
            assert reached(lambda now=epoch: client.snapshot().groups[0].epoch == now)  # type: ignore[misc]
    link.close()


def test_a_job_whose_trial_gives_up_is_to_end_and_the_next_is_not(
    client: MortalClient,
) -> None:
    link = connect(client)
    job = lend(client, "0000")
    assert link.exchange(None) == Reply(job=job)
    with link.training(trainer()):
        assert not link.should_stop()
        client.release("digits", "0000")
        assert reached(link.should_stop)
    answers: list[Reply | None] = []
    outcome = FoldOutcome(job=job, epoch=2)
    waiting = threading.Thread(target=lambda: answers.append(link.exchange(outcome)))
    waiting.start()
    other = lend(client, "0001")
    waiting.join(DEADLINE_SECONDS)
    assert answers == [Reply(job=other)]
    present = trainer(epoch=1)
    with link.training(present):
        assert reached(lambda: client.snapshot().groups[0].epoch == 1)  # it has listened since
        assert not link.should_stop()
    link.close()


def test_when_the_dispatcher_dies_the_job_is_to_end_and_there_is_no_other(
    client: MortalClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher_module, "BEAT_SECONDS", DEADLINE_SECONDS)
    link = connect(client)
    job = lend(client, "0000")
    link.exchange(None)
    with link.training(trainer()):
        client.end()
        assert reached(link.should_stop)
    assert link.exchange(FoldOutcome(job=job, epoch=2)) == Reply(stop=True)


def test_a_group_that_starts_after_the_dispatchers_death_has_nothing_to_do(
    client: MortalClient,
) -> None:
    client.end()
    assert connect(client).exchange(None) == Reply(stop=True)

"""Growth, deaths and hanging groups, with plain processes instead of Ray's."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import psutil
import pytest

from rayfold.errors import ResourcesError
from rayfold.groups import supervision
from rayfold.groups.dispatcher import Dispatcher
from rayfold.groups.launchers.base import Ending, Launcher
from rayfold.groups.plan import Groups
from rayfold.groups.snapshot import Snapshot
from rayfold.groups.supervision import Supervisor
from rayfold.jobs import FoldJob

Result = TypeVar("Result")

DEADLINE_SECONDS = 30.0
WAITS = "import sys; sys.stdin.read()"
CANNOT_START = "raise SystemExit(\"no module named 'net'\")"


class Processes(Launcher):
    """Starts one process per group, which runs a line of Python."""

    def __init__(self, code: str = WAITS, *, room: int = 0) -> None:
        self.code, self.num_free = code, room
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.started: list[int] = []
        self._killed: set[int] = set()

    def room(self) -> int:
        return self.num_free

    def start(self, group: int) -> None:
        self.started.append(group)
        self.processes[group] = subprocess.Popen(
            [sys.executable, "-c", self.code], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def kill(self, group: int) -> None:
        self.processes[group].kill()
        self._killed.add(group)

    def endings(self, timeout: float) -> Sequence[Ending]:
        deadline = time.monotonic() + timeout
        while True:
            over = [group for group, it in self.processes.items() if it.poll() is not None]
            if over or time.monotonic() > deadline:
                return [self._ending(group) for group in over]
            time.sleep(0.01)

    def shortage(self) -> str:
        return "1 process (0 free)"

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            ended(process)
        self.processes = {}

    def _ending(self, group: int) -> Ending:
        status = ended(self.processes.pop(group))
        asked = group in self._killed
        self._killed.discard(group)
        return Ending(group=group, cause="" if asked else f"it ended with status {status}")


def ended(process: subprocess.Popen[bytes]) -> int:
    assert process.stdin is not None
    process.stdin.close()
    return process.wait()


class Direct:
    """The dispatcher, without a process of its own."""

    def __init__(self) -> None:
        self.dispatcher = Dispatcher()
        self._loop = asyncio.new_event_loop()

    def run(self, call: Coroutine[Any, Any, Result]) -> Result:
        return self._loop.run_until_complete(call)

    def snapshot(self) -> Snapshot:
        return self.run(self.dispatcher.snapshot())

    def group_died(
        self, group: int, cause: str, details: str = "", *, node_lost: bool = False
    ) -> bool:
        died = self.dispatcher.group_died(group, cause, details, node_lost=node_lost)
        return self.run(died)

    def announce(self, group: int) -> str:
        return self.run(self.dispatcher.announce(group, "node", 1))

    def train(self, group: int) -> None:
        """Have the group take a job of trial 0000, which it then never ends."""
        token = self.announce(group)
        self.run(self.dispatcher.acquire("/0000", 1))
        job = FoldJob(trial="0000", config={}, fold=2, until_epoch=3)
        self.run(self.dispatcher.submit("/0000", [job]))
        assert self.run(self.dispatcher.exchange(group, token, None)).job == job

    def close(self) -> None:
        self._loop.close()


@pytest.fixture
def direct() -> Iterator[Direct]:
    direct = Direct()
    yield direct
    direct.close()


@pytest.fixture
def launcher() -> Iterator[Processes]:
    processes = Processes()
    yield processes
    processes.stop()


def look_until(supervisor: Supervisor, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not reached():
        assert time.monotonic() < deadline
        supervisor.look(0.1)


def test_groups_are_added_one_at_a_time_while_there_is_room(
    direct: Direct, launcher: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "GROW_SECONDS", 0.0)
    supervisor = Supervisor(Groups(minimum=1, maximum=3), launcher, direct, grace_seconds=60.0)
    supervisor.begin()
    assert launcher.started == [0]
    launcher.num_free = 5
    supervisor.look(0.0)
    assert launcher.started == [0]  # it is not ready yet
    direct.announce(0)
    supervisor.look(0.0)
    assert launcher.started == [0, 1]
    direct.announce(1)
    launcher.num_free = 0
    supervisor.look(0.0)
    assert launcher.started == [0, 1]


def test_a_killed_group_is_started_again_and_the_others_are_left_alone(
    direct: Direct, launcher: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Supervisor(Groups(minimum=2, maximum=2), launcher, direct, grace_seconds=60.0)
    supervisor.begin()
    other, before = launcher.processes[0], launcher.processes[1]
    os.kill(before.pid, signal.SIGKILL)
    look_until(supervisor, lambda: len(launcher.started) == 3)
    assert launcher.started == [0, 1, 1]
    assert launcher.processes[1].pid != before.pid
    assert launcher.processes[0] is other
    assert other.poll() is None
    assert caplog.messages == ["Group 1 starts anew: it ended with status -9."]


def test_a_group_that_cannot_start_is_given_up_after_three_deaths_and_the_cause_is_kept(
    direct: Direct, launcher: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    launcher.code = CANNOT_START
    supervisor = Supervisor(Groups(), launcher, direct, grace_seconds=60.0)
    supervisor.begin()
    look_until(supervisor, lambda: bool(direct.snapshot().broken))
    supervisor.look(0.1)
    assert launcher.started == [0, 0, 0]
    cause = "it ended with status 1"
    assert direct.snapshot().broken == (
        f"group 0 has ended 3 times in a row before it took a job: {cause}."
    )
    assert caplog.messages[-1] == f"Group 0 is not started again: {cause}."


def test_a_group_that_does_not_stop_is_killed_and_started_again(
    direct: Direct, launcher: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Supervisor(Groups(), launcher, direct, grace_seconds=0.0)
    supervisor.begin()
    hanging = launcher.processes[0]
    direct.train(0)
    supervisor.look(0.1)
    assert hanging.poll() is None  # as long as its trial wants it, it may take its time
    direct.run(direct.dispatcher.release("/0000"))
    look_until(supervisor, lambda: len(launcher.started) == 2)
    assert hanging.wait() == -signal.SIGKILL
    assert caplog.messages == [
        "Group 0 has not ended fold 2 of trial 0000 within 0 s of being told to: it may hang, so "
        "its processes are killed. What the fold has not written is lost."
    ]
    token = direct.announce(0)
    assert token
    assert [group.trial for group in direct.snapshot().groups] == [None]


def test_at_the_end_hanging_groups_are_killed_and_idle_ones_end_by_themselves(
    direct: Direct, launcher: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Supervisor(Groups(minimum=2, maximum=2), launcher, direct, grace_seconds=2.0)
    supervisor.begin()
    processes = dict(launcher.processes)
    direct.train(0)
    direct.announce(1)
    direct.run(direct.dispatcher.stop())
    assert processes[1].stdin is not None
    processes[1].stdin.close()
    supervisor.end()
    assert processes[1].returncode == 0
    assert processes[0].returncode == -signal.SIGKILL
    assert [message[:24] for message in caplog.messages] == ["Group 0 has not ended fo"]
    assert not any(psutil.pid_exists(process.pid) for process in processes.values())


def test_what_is_missing_is_told_once_when_no_group_becomes_ready(
    direct: Direct,
    launcher: Processes,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "PATIENCE_SECONDS", 0.0)
    caplog.set_level(logging.WARNING)
    supervisor = Supervisor(Groups(), launcher, direct, grace_seconds=60.0)
    supervisor.begin()
    supervisor.look(0.01)
    supervisor.look(0.01)
    assert caplog.messages == [
        "No group is ready after 0 s; one needs 1 process (0 free). The study waits."
    ]


def test_why_the_last_group_has_ended_is_told_when_none_becomes_ready(
    direct: Direct,
    launcher: Processes,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "PATIENCE_SECONDS", 0.0)
    supervisor = Supervisor(Groups(), launcher, direct, grace_seconds=60.0)
    supervisor.begin()
    launcher.processes[0].kill()
    launcher.processes[0].wait()
    supervisor.look(10.0)
    assert caplog.messages[-1].endswith(
        "(0 free). The last one that has ended: it ended with status -9. The study waits."
    )


def test_a_supervisor_that_fails_says_so_at_each_check_from_then_on(
    direct: Direct, launcher: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Supervisor(Groups(), launcher, direct, grace_seconds=60.0)
    supervisor.begin()
    supervisor.check(direct.snapshot())

    def fails(timeout: float) -> Sequence[Ending]:
        raise RuntimeError("no answer")

    monkeypatch.setattr(launcher, "endings", fails)
    supervisor.watch(threading.Event())
    for _ in range(2):
        with pytest.raises(ResourcesError) as raised:
            supervisor.check(direct.snapshot())
        assert str(raised.value) == (
            "groups that end cannot be started again any more (RuntimeError: no answer)"
        )


def test_a_supervisor_ends_when_it_is_told_to(direct: Direct, launcher: Processes) -> None:
    supervisor = Supervisor(Groups(), launcher, direct, grace_seconds=60.0)
    supervisor.begin()
    until = threading.Event()
    until.set()
    supervisor.watch(until)
    assert launcher.started == [0]
    supervisor.check(direct.snapshot())

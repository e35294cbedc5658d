import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from rayfold.study.interruption import Interruption

ENDS_AT_THE_SECOND = """
import signal
from rayfold.study.interruption import Interruption

interruption = Interruption()
with interruption.listening():
    signal.raise_signal(signal.SIGINT)
    print("still here", interruption.requested, flush=True)
    signal.raise_signal(signal.SIGINT)
    print("never reached", flush=True)
"""

GIVES_UP = """
import sys
from rayfold.study.interruption import Interruption

interruption = Interruption()
interruption.requested = sys.argv[1] == "1"
interruption.before_exit = lambda: print("all is ended", flush=True)
interruption.give_up("Ray's raylet has died")
"""

NOTED_AND_PRINTED = """
import signal
from rayfold.study.interruption import Interruption

input()
with Interruption().listening():
    signal.raise_signal(signal.SIGHUP)
    print("written", flush=True)
"""


@pytest.fixture
def sighup_is_heard() -> Iterator[None]:
    """These tests may themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("sighup_is_heard")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_interruption_is_only_noted(number: signal.Signals) -> None:
    interruption = Interruption()
    assert not interruption.requested
    with interruption.listening():
        signal.raise_signal(number)
        assert interruption.requested


def test_afterwards_the_handlers_are_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interruption().listening():
        during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert during != before


def test_a_process_under_nohup_goes_on_when_its_terminal_is_closed() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        interruption = Interruption()
        with interruption.listening():
            signal.raise_signal(signal.SIGHUP)
        assert not interruption.requested
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("sighup_is_heard")
def test_a_terminal_that_is_gone_is_no_error() -> None:
    """All that is written to it later goes nowhere."""
    master, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", NOTED_AND_PRINTED],
        stdin=subprocess.PIPE,
        stdout=terminal,
        stderr=terminal,
        text=True,
    )
    os.close(terminal)
    os.close(master)
    process.communicate("go on\n", timeout=120)
    assert process.returncode == 0


def test_the_second_interruption_ends_the_process_at_once() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDS_AT_THE_SECOND], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 128 + signal.SIGINT
    assert ended.stdout == "still here True\n"
    assert "Run the same command again to resume; interrupt again to end at once." in ended.stderr


@pytest.mark.parametrize(
    ("interrupted", "status", "line"),
    [
        (False, 75, "rayfold: Ray's raylet has died. What is finished is kept; run the same"),
        (True, 130, "Ray was ended by the same signal, so that nothing can be waited for."),
    ],
)
def test_a_run_without_ray_ends_at_once_and_leaves_nothing(
    interrupted: bool, status: int, line: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", GIVES_UP, str(int(interrupted))],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == status
    assert ended.stdout == "all is ended\n"
    assert ended.stderr.strip().startswith(line)


def test_beside_the_main_thread_nothing_listens_and_nothing_breaks() -> None:
    entered: list[bool] = []
    before = signal.getsignal(signal.SIGINT)

    def listen() -> None:
        with Interruption().listening():
            entered.append(signal.getsignal(signal.SIGINT) == before)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert entered == [True]

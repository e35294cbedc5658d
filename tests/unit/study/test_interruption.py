import signal
import subprocess
import sys
import threading

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


def test_the_first_interruption_is_only_noted() -> None:
    interruption = Interruption()
    assert not interruption.requested
    with interruption.listening():
        signal.raise_signal(signal.SIGTERM)
        assert interruption.requested


def test_afterwards_the_handlers_are_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interruption().listening():
        during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert during != before


def test_the_second_interruption_ends_the_process_at_once() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDS_AT_THE_SECOND], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 128 + signal.SIGINT
    assert ended.stdout == "still here True\n"
    assert "Run the same again to go on; interrupt again to end at once." in ended.stderr


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

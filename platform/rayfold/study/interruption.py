"""What ends a study before it is done: a signal, or the death of Ray."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Interruption:
    """Ctrl-C, SIGTERM or SIGHUP: the first asks for an orderly end, the second ends at once."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen during the block, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heard = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
            heard.append(signal.SIGHUP)
        previous = {number: signal.signal(number, self._handle) for number in heard}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def give_up(self) -> NoReturn:
        """End the process at once; what is finished is kept, as after a second interruption."""
        _say(
            b"\nRay was ended by the same signal, so that nothing can be waited for. What is "
            b"finished is kept; run the same again to go on.\n"
        )
        os._exit(128 + signal.SIGINT)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            os._exit(128 + number)
        self.requested = True
        _say(
            b"\nInterrupted: folds in training finish their epoch and everything is written. "
            b"Run the same again to go on; interrupt again to end at once.\n"
        )


def _say(line: bytes) -> None:
    """Write to standard error; where the terminal is gone, as after SIGHUP, nothing can."""
    error = sys.__stderr__.fileno() if sys.__stderr__ else 2
    try:
        os.write(error, line)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, error):  # what writes there later must not fail
            os.dup2(nowhere, descriptor)
        os.close(nowhere)

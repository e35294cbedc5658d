"""Ctrl-C during a study."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Interruption:
    """Ctrl-C, or a scheduler's SIGTERM: the first asks for an orderly end, the second ends."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen during the block, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {
            number: signal.signal(number, self._handle)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
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
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, line)

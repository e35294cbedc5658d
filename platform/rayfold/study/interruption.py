"""Ctrl-C during a study."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            os._exit(128 + number)
        self.requested = True
        os.write(
            sys.__stderr__.fileno() if sys.__stderr__ else 2,
            b"\nInterrupted: folds in training finish their epoch and everything is written. "
            b"Run the same again to go on; interrupt again to end at once.\n",
        )

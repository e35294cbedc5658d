"""Early ends of a study: a signal, or the death of Ray."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SHOW_CURSOR = "\x1b[?25h"
"""Restores a terminal after a live table."""

HOLD_SECONDS = 1.0
"""Seconds without calls to Ray after a signal that may also have reached Ray.

A call to a raylet that is ending would end this process with status 1 and no message. Ctrl-C does
not reach Ray, which blocks it.
"""


class Interruption:
    """Ctrl-C, SIGTERM or SIGHUP: the first asks for an orderly end, the second ends at once.

    Every end by a signal has the exit status 130.

    Attributes:
        requested: Whether a signal has come.
        before_exit: Called before the process ends at once; ends whatever would outlive it.
    """

    EXIT_STATUS = 128 + signal.SIGINT

    def __init__(self) -> None:
        self.requested = False
        self.before_exit: Callable[[], None] = lambda: None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen during the block, if this is the main thread."""
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

    def give_up(self, reason: str) -> NoReturn:
        """End the process at once, without waiting; finished work is kept.

        Args:
            reason: What has died, as a sentence without its full stop.
        """
        if self.requested:
            self._exit(
                "Ray was ended by the same signal, so that nothing can be waited for. What is "
                "finished is kept; run the same command again to resume.",
                self.EXIT_STATUS,
            )
        self._exit(
            f"rayfold: {reason}. What is finished is kept; run the same command again to resume.",
            os.EX_TEMPFAIL,
        )

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            self._exit("Ended at once. Run the same command again to resume.", self.EXIT_STATUS)
        self.requested = True
        _say(
            "Interrupted: folds in training finish their epoch and everything is written. "
            "Run the same command again to resume; interrupt again to end at once."
        )
        if number != signal.SIGINT:
            time.sleep(HOLD_SECONDS)  # the guard over Ray ends the process in this time

    def _exit(self, line: str, status: int) -> NoReturn:
        _say(line)
        try:
            self.before_exit()
        finally:
            os._exit(status)


def _say(line: str) -> None:
    """Write to standard error, if there is still a terminal (not after SIGHUP)."""
    error = sys.__stderr__.fileno() if sys.__stderr__ else 2
    try:
        os.write(error, f"{SHOW_CURSOR if os.isatty(error) else ''}\n{line}\n".encode())
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, error):  # what writes there later must not fail
            os.dup2(nowhere, descriptor)
        os.close(nowhere)

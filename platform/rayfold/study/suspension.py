"""What a run does at a fault of the machine: it waits, continues, or ends and can be resumed."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from rayfold.errors import JournalError, RayfoldError, SuspendedError
from rayfold.machine import machine_fault

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0
"""Seconds that a run waits for the machine before it ends."""

RETRY_SECONDS = 1.0
"""Seconds that the journal waits before it tries to write a line again."""


class Suspension:
    """Reports faults of the machine, and ends a run if nothing succeeds for too long.

    Args:
        folder: Where the study writes.
        interrupted: Tells whether the run is ending anyway.
        clock: A clock in seconds that never goes back.

    Attributes:
        reason: Why the run ends; empty while it continues.
    """

    def __init__(
        self,
        folder: Path,
        *,
        interrupted: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._interrupted, self._clock = folder, interrupted, clock
        self._since: float | None = None
        self.reason = ""

    def note(self, fault: str | None) -> None:
        """Note the fault that a step of a trial has met; None: it succeeded."""
        if fault is None:
            if self._since is not None:
                logger.warning("The fault is over; the study continues.")
            self._since = None
            return
        if self._since is None:
            self._since = self._clock()
            logger.warning(
                "%s. The study waits for %.0f minutes at most and continues when it is repaired. "
                "No trial fails because of it. Ctrl-C ends the run, which can resume later.",
                fault,
                PATIENCE_SECONDS / 60,
            )
        elif self._clock() - self._since > PATIENCE_SECONDS:
            self.end(fault)

    def end(self, reason: str) -> None:
        """End the run; the first reason counts."""
        self.reason = self.reason or reason.removesuffix(".")

    def end_by(self, error: RayfoldError) -> None:
        """End the run by an error of its environment, not of the study's input.

        Examples: the journal cannot be written; no group works, because a module is missing on its
        node or the memory is too small.
        """
        self.end(machine_fault(error, self._folder) or str(error))

    def waits_after(self, error: JournalError) -> bool:
        """Wait after a line of the journal could not be written; tell whether to try again."""
        fault = machine_fault(error, self._folder)
        if fault is None:
            return False
        self.note(fault)
        if self.reason or self._interrupted():
            return False
        time.sleep(RETRY_SECONDS)
        return True

    def check(self) -> None:
        """Raise the error that the run ends with, if any.

        Raises:
            SuspendedError: If it ends because of a fault.
        """
        if self.reason:
            raise SuspendedError(
                f"{self.reason}. Repair it, then run the same command again to resume."
            )

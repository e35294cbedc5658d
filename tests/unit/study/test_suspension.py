import errno
import logging
from pathlib import Path

import pytest

from rayfold.errors import JournalError, RayfoldError, ResourcesError, SuspendedError
from rayfold.study.suspension import PATIENCE_SECONDS, Suspension

FULL = "No space left on device (0 B of 8 GB free on /data)"


class Run:
    """A run at a time that the test sets, which may be interrupted."""

    def __init__(self, folder: Path) -> None:
        self.now, self.interrupted = 0.0, False
        self.suspension = Suspension(
            folder, interrupted=lambda: self.interrupted, clock=lambda: self.now
        )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def full_journal() -> JournalError:
    error = JournalError("journal.jsonl: an entry cannot be written")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    return error


def test_a_fault_is_told_once_and_so_is_its_end(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for fault in (None, FULL, FULL, None, None):
            run.suspension.note(fault)
    first, second = (record.message for record in caplog.records)
    assert first.startswith(f"{FULL}. The study waits for 10 minutes at most and continues when")
    assert second == "The fault is over; the study continues."
    run.suspension.check()


def test_a_fault_that_lasts_ends_the_run_with_what_to_do(run: Run) -> None:
    run.suspension.note(FULL)
    run.now = PATIENCE_SECONDS
    run.suspension.note(FULL)
    run.suspension.check()
    run.now += 1
    run.suspension.note(FULL)
    with pytest.raises(SuspendedError, match=r"on /data\)\. Repair it, then run the same"):
        run.suspension.check()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            ResourcesError("group 1 has ended 3 times in a row before it took a job: no net."),
            "group 1 has ended 3 times in a row before it took a job: no net",
        ),
        (JournalError("journal.jsonl: damaged"), "journal.jsonl: damaged"),
        (full_journal(), "No space left on device"),
    ],
)
def test_surroundings_in_which_nothing_works_end_the_run_resumably(
    run: Run, error: RayfoldError, reason: str
) -> None:
    """The command line gives ``SuspendedError`` status 75 and not 2: the input is not wrong."""
    run.suspension.end_by(error)
    assert run.suspension.reason.startswith(reason)
    with pytest.raises(SuspendedError, match=r"[^.]\. Repair it, then run the same command again"):
        run.suspension.check()


def test_what_goes_well_in_between_begins_the_time_anew(run: Run) -> None:
    for run.now, fault in ((0.0, FULL), (500.0, None), (501.0, FULL), (1100.0, FULL)):
        run.suspension.note(fault)
    assert run.suspension.reason == ""


def test_the_first_reason_is_the_one_that_is_told(run: Run) -> None:
    run.suspension.end("the pool's dispatcher died")
    run.suspension.end(FULL)
    assert run.suspension.reason == "the pool's dispatcher died"


def test_a_journal_on_a_full_disk_is_tried_again_unless_the_run_is_interrupted(run: Run) -> None:
    assert run.suspension.waits_after(full_journal())
    run.interrupted = True
    assert not run.suspension.waits_after(full_journal())
    run.suspension.check()


def test_a_journal_that_is_broken_otherwise_is_not_waited_for(run: Run) -> None:
    assert not run.suspension.waits_after(JournalError("closed"))

"""The code that a study's trials are trained with: recorded, and compared on resuming."""

import logging
from collections import Counter
from collections.abc import Sequence

from rayfold.errors import RecipeError
from rayfold.events import CodeChanged, Retried, StudyBegun, Suggested, TrialEnded
from rayfold.journal import Entry, Journal
from rayfold.storage import replacing
from rayfold.study_folder import StudyFolder
from rayfold.user_code import CodeRecord, SourceCode, all_files, changed_files, changed_packages

logger = logging.getLogger(__name__)


def recorded_code(entries: Sequence[Entry]) -> CodeRecord | None:
    """Return the code of a journal's newest trials; None in old journals."""
    found: CodeRecord | None = None
    for entry in entries:
        event = entry.read()
        if isinstance(event, StudyBegun):
            found = event.description.code
        elif isinstance(event, CodeChanged):
            found = event.code
    return found


def check_code(name: str, entries: Sequence[Entry], present: CodeRecord, *, accept: bool) -> None:
    """Check that a study resumes with the code that it began with.

    Other code is allowed if it is accepted, or if no trial of the old code is complete or stopped,
    so that the table has no such trial.

    Args:
        name: Name of the study.
        entries: Its journal.
        present: The present code.
        accept: Whether changed code is accepted.

    Raises:
        RecipeError: If the code has changed; the message names the files and what to do.
    """
    before = recorded_code(entries)
    if before is None or before.digest == present.digest or accept or not _keeps_results(entries):
        return
    raise RecipeError(
        f"study {name!r} began with other code: {_changes(before, present)}; put that back, give "
        "the study another name, or accept it for the trials to come (--accept-changed-code, "
        "accept_changed_code=True)."
    )


def note_code(name: str, journal: Journal, entries: Sequence[Entry], present: CodeRecord) -> None:
    """Record in a study's journal that its code has changed, if it has.

    Changed versions of packages are logged and recorded but not refused: a study may outlive an
    upgrade, and only its user can judge the effect.
    """
    before = recorded_code(entries)
    if before == present:
        return
    if before is not None and before.digest != present.digest:
        logger.warning(
            "study %s resumes with changed code: %s. Trials that are not complete begin anew.",
            name,
            _changes(before, present),
        )
    elif before is not None and (versions := changed_packages(before, present)):
        logger.warning(
            "study %s resumes with other versions: %s. Its earlier trials were trained with the "
            "old ones.",
            name,
            ", ".join(versions),
        )
    journal.record(CodeChanged(present))


def keep_text(sources: Sequence[SourceCode], code: CodeRecord, folder: StudyFolder) -> None:
    """Write the files of a study's code into its folder, below their digest."""
    for name, text in all_files(*sources).items():
        path = folder.code(code.digest) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def done_so_far(entries: Sequence[Entry]) -> str:
    """Return the progress of a study: ``"3 trials completed, 1 failed"``."""
    counts = Counter(_statuses(entries).values())
    order = ("completed", "stopped", "failed", "in flight")
    texts = [f"{counts[status]} {status}" for status in order if counts[status]]
    return f"{counts.total()} trials: {', '.join(texts)}" if texts else "no trial yet"


def _changes(before: CodeRecord, present: CodeRecord) -> str:
    return ", ".join(changed_files(before, present)) or "its text has changed"


def _keeps_results(entries: Sequence[Entry]) -> bool:
    """Tell whether a trial is complete, or was stopped with a score."""
    return any(status in ("completed", "stopped") for status in _statuses(entries).values())


def _statuses(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the status of each trial, or ``"in flight"``."""
    statuses: dict[str, str] = {}
    for entry in entries:
        event = entry.read()
        if isinstance(event, TrialEnded):
            statuses[event.trial] = event.status
        elif isinstance(event, Suggested | Retried):
            statuses[event.trial] = "in flight"
    return statuses

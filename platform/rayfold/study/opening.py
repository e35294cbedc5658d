"""How a study begins in its journal, or resumes from it."""

import copy
import logging
import uuid
from collections.abc import Sequence
from dataclasses import replace

from rayfold.data import SeenRows
from rayfold.description import StudyDescription
from rayfold.events import RunState, StudyBegun
from rayfold.journal import Entry, Journal
from rayfold.study.description import check_same
from rayfold.study.opened import Call, OpenStudy
from rayfold.study.preparation import Preparation
from rayfold.study.recorded_code import check_code, keep_text, note_code
from rayfold.transfer.cold_starts import ColdStarts
from rayfold.tuning.ledger import Ledger
from rayfold.tuning.states import start_anew
from rayfold.user_code import CodeRecord

logger = logging.getLogger(__name__)


def has_begun(study: Preparation, entries: Sequence[Entry], *, accept_changed_code: bool) -> bool:
    """Tell whether a study has begun; if so, check that its options have not changed.

    Args:
        study: The study.
        entries: Its journal.
        accept_changed_code: Whether its code may have changed.

    Raises:
        RecipeError: If it has changed; the message names what.
    """
    begun = _description_in(entries)
    if begun is None:
        return False
    name = study.specification.name
    check_same(name, begun, study.description(entries))
    check_code(name, entries, study.code, accept=accept_changed_code)
    return True


def open_study(
    study: Preparation, journal: Journal, entries: Sequence[Entry], num_trials: int, call: Call
) -> OpenStudy:
    """Begin a study in its journal, or resume it.

    Args:
        study: The study.
        journal: Its journal, open for appending.
        entries: The journal's entries.
        num_trials: Largest number of trials.
        call: The call of ``run``.

    Raises:
        RecipeError: If the study has changed since it began.
    """
    options, settings = study.specification, study.settings
    start, weights = study.head_start.start(entries), study.head_start.weights(entries)
    begun = _description_in(entries)
    planned = num_trials if begun is None else begun.num_trials or num_trials
    searcher = copy.deepcopy(options.searcher.fitted(planned))
    searcher.start(start.space, mode=settings.mode, past=start.past)
    scheduler = copy.deepcopy(study.scheduler)
    _write_beginning(study, journal, entries, num_trials, call)
    ledger = Ledger(
        searcher,
        journal,
        num_trials=num_trials,
        scheduler=scheduler,
        cold_starts=None if weights is None else ColdStarts(settings.mode, options.folds.total),
        code=study.code.digest,
    )
    ledger.replay(entries)
    ledger.retry(failed=call.retry_failed)
    for trial, number in ledger.fresh_starts.items():
        start_anew(study.folder.path, trial, number)
    if ledger.exhausted and (failed := sum(r.status == "failed" for r in ledger.results)):
        logger.warning(
            "%d of %d trials failed in earlier runs and are not tried again; "
            "--retry-failed (retry_failed=True) does that.",
            failed,
            len(ledger.results),
        )
    return OpenStudy(
        name=options.name,
        setup=study.setup(None if weights is None else weights.warm_start),
        journal=journal,
        ledger=ledger,
        scheduler=scheduler,
        space=start.space,
    )


def _write_beginning(
    study: Preparation, journal: Journal, entries: Sequence[Entry], num_trials: int, call: Call
) -> None:
    """Write a study's first lines, or check that it is still the same study.

    Two things are written before the first trial: what was taken from earlier studies, and which
    rows the models will see.
    """
    begun = has_begun(study, entries, accept_changed_code=call.accept_changed_code)
    options, head_start = study.specification, study.head_start
    weights = head_start.weights(entries)
    takes_past = options.past is not None or options.sub_problems is not None
    head_start.write(journal, entries, takes_past=takes_past)
    keep_text(study.sources, study.code, study.folder)
    keep_text([study.source_code], CodeRecord.of(study.source_code), study.folder)
    if begun:
        note_code(options.name, journal, entries, study.code)
    else:
        inherited = weights.inherited if weights is not None else {}
        SeenRows.of(study.data, study.fold_plan, inherited).save(study.folder.seen_rows)
        description = replace(study.description(entries), num_trials=num_trials)
        journal.record(StudyBegun(name=options.name, id=uuid.uuid4().hex, description=description))
    journal.record(RunState("started"))


def _description_in(entries: Sequence[Entry]) -> StudyDescription | None:
    """Return the description that a study began with; None before that."""
    events = (entry.read() for entry in entries)
    return next((event.description for event in events if isinstance(event, StudyBegun)), None)

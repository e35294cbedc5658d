"""One run of a study, from the first line in its journal to the last trial of this call."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from rayfold.errors import JournalError, SuspendedError
from rayfold.events import RunState
from rayfold.journal import Journal, read_journal
from rayfold.report import Progress, create_progress
from rayfold.results import TrialResult
from rayfold.storage import ARTIFACTS
from rayfold.study.opened import Call, OpenStudy
from rayfold.study.opening import has_begun, open_study
from rayfold.study.preparation import Preparation
from rayfold.study.result import StudyResult
from rayfold.tracking import Uploader, tracking_uri
from rayfold.training.metrics import scored_names

logger = logging.getLogger(__name__)

UPLOAD_SECONDS = 120.0
"""Seconds that the end of a study waits for MLflow; the next run uploads the rest."""

SUSPENDED_UPLOAD_SECONDS = 5.0
"""The same after a fault of the machine, which may also affect MLflow."""


class Run:
    """One call of ``Study.run``: the studies of the parts, if there are any, then the study.

    Args:
        study: The study, checked.
        call: The call and its limits.
    """

    def __init__(self, study: Preparation, call: Call) -> None:
        self._study, self._call = study, call

    def carry_out(self, num_trials: int) -> StudyResult:
        """Run the study, or resume it.

        Args:
            num_trials: Largest number of trials, including those of earlier runs.
        """
        study, call, options = self._study, self._call, self._study.specification
        with Journal.open(study.folder.journal) as journal:
            entries = read_journal(journal.path)
            begun = has_begun(  # before the parts are run for nothing
                study, entries, accept_changed_code=call.accept_changed_code
            )
            parts = self._carry_out_parts()
            if call.ended and not begun:
                return self._result(study, (), uploaded=parts[0].uploaded, parts=parts)
            study.head_start.take_from_parts(
                parts, configurations=options.searcher.opens_with_past
            )
            opened = open_study(study, journal, entries, num_trials, call)
            uploaded = self._execute([opened], name=options.name)
        if opened.ledger.misled:
            logger.warning(
                "Folds that begin cold are clearly better than those with initial weights; all "
                "later trials begin cold."
            )
        return self._result(study, opened.ledger.results, uploaded=uploaded, parts=parts)

    def _carry_out_parts(self) -> tuple[StudyResult, ...]:
        """Run the studies of the parts in one pool, or resume them."""
        parts = self._study.parts
        if not parts:
            return ()
        with ExitStack() as stack:
            opened = []
            for part in parts:
                journal = stack.enter_context(Journal.open(part.folder.journal))
                entries, limit = read_journal(journal.path), part.specification.limit()
                opened.append(open_study(part, journal, entries, limit, self._call))
            name = f"{self._study.specification.name}.parts"
            uploaded = self._execute(opened, name=name)
        return tuple(
            self._result(part, study.ledger.results, uploaded=uploaded)
            for part, study in zip(parts, opened, strict=True)
        )

    def _execute(self, studies: Sequence[OpenStudy], *, name: str) -> bool:
        """Run studies in one pool until they are done or the call ends.

        Returns:
            Whether MLflow holds everything.
        """
        call, storage = self._call, self._study.storage
        uri = tracking_uri(storage)
        folders = [study.setup.folder for study in studies]
        uploader = Uploader(folders, uri, storage / ARTIFACTS)
        uploader.start()
        patience = UPLOAD_SECONDS
        try:
            if not call.ended and not all(study.ledger.exhausted for study in studies):
                with (
                    call.interruption.listening(),
                    create_progress(call.show_progress) as progress,
                ):
                    self._train(studies, name, uploader, progress)
            for study in studies:
                study.journal.record(RunState(call.state))
        except (SuspendedError, JournalError):
            patience = SUSPENDED_UPLOAD_SECONDS
            for study in studies:
                with suppress(JournalError):  # on a full disk; the next run ends this one
                    study.journal.record(RunState("interrupted"))
            raise
        finally:
            uploaded = uploader.finish(patience)
        if not uploaded:
            logger.warning(
                "MLflow at %s does not hold everything yet; the journal does. "
                "Run the study again to upload the rest.",
                uri,
            )
        return uploaded

    def _train(
        self, studies: Sequence[OpenStudy], name: str, uploader: Uploader, progress: Progress
    ) -> None:
        """Train the trials on the cluster."""
        from rayfold.study.execution import Execution  # Ray

        options = self._study.specification
        execution = Execution(
            name=name,
            studies=studies,
            scratch=self._study.folder.scratch,
            groups=options.groups,
            fold_order=options.fold_order,
            max_time_per_trial=options.max_time_per_trial,
            call=self._call,
            uploader=uploader,
            progress=progress,
        )
        execution.run(self._study.data)

    def _result(
        self,
        study: Preparation,
        trials: Sequence[TrialResult],
        *,
        uploaded: bool,
        parts: tuple[StudyResult, ...] = (),
    ) -> StudyResult:
        settings, call = study.settings, self._call
        return StudyResult(
            name=study.specification.name,
            metric=settings.metric,
            mode=settings.mode,
            metrics=scored_names(settings.metrics, settings.metric),
            trials=tuple(trials),
            interrupted=call.interruption.requested,
            uploaded=uploaded,
            tracking_uri=tracking_uri(study.storage),
            out_of_time=call.out_of_time and not call.interruption.requested,
            parts=parts,
        )

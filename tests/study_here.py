"""Studies where Ray is not what is tested: opened, or trained in the process of the test."""

from collections.abc import Sequence
from typing import Any

import rayfold as rf
from rayfold.jobs import FoldJob
from rayfold.journal import Journal, read_journal
from rayfold.report import Progress
from rayfold.results import Trial
from rayfold.study.opened import Call, OpenStudy
from rayfold.study.opening import open_study
from rayfold.study.run import Run
from rayfold.tracking import Uploader
from rayfold.training import FoldRun, SingleProcess


class StudyHere(rf.Study):
    """Journal, ledger, folds and MLflow are the real ones; a start costs no minute."""

    num_here: int | None = None
    """How many trials to train; None is all that were asked for."""

    def run(self, num_trials: int | None = None, **options: Any) -> rf.StudyResult:
        """Run the study in this process, with no option but the number of trials."""
        run = _RunHere(self.preparation, Call(show_progress=False))
        run.num_here = self.num_here
        limit = self._asked(num_trials=num_trials).limit()
        self._checked_plan(limit)
        return run.carry_out(limit)


class _RunHere(Run):
    num_here: int | None = None

    def _train(
        self, studies: Sequence[OpenStudy], name: str, uploader: Uploader, progress: Progress
    ) -> None:
        for opened in studies:
            trained = 0
            while trained != self.num_here and (trial := opened.ledger.next_trial()) is not None:
                self._train_trial(trial, opened)
                trained += 1

    def _train_trial(self, trial: Trial, opened: OpenStudy) -> None:
        setup = opened.setup
        for fold in setup.plan.folds:
            job = FoldJob(
                study=opened.name,
                trial=trial.id,
                config=trial.config,
                fold=fold.index,
                until_epoch=setup.settings.epochs,
            )
            data = self._study.data
            run = FoldRun(job, setup=setup, data=data, collective=SingleProcess())
            result = run.advance(job)
            assert result is not None
            opened.ledger.fold_finished(trial.id, result)
        opened.ledger.trial_finished(trial.id, "completed")


def open_here(
    study: rf.Study, journal: Journal, num_trials: int, call: Call | None = None
) -> OpenStudy:
    """Open a study as a run does."""
    entries = read_journal(journal.path)
    return open_study(study.preparation, journal, entries, num_trials, call or Call())


def describe(study: rf.Study) -> dict[str, Any]:
    """Return what a study's journal begins with."""
    return study.preparation.description([]).to_dict()

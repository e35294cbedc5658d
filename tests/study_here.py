"""A study that trains its trials in the process of the test, where Ray is not what is tested."""

from collections.abc import Sequence
from typing import Any

import rayfold as rf
from rayfold.orders import FoldTask
from rayfold.results import Trial
from rayfold.study.opened import Call, OpenStudy
from rayfold.tracking import Uploader, tracking_uri
from rayfold.training import FoldRun, SingleProcess


class StudyHere(rf.Study):
    """Journal, ledger, folds and MLflow are the real ones; a start costs no minute."""

    num_here: int | None = None
    """How many trials to train; None is all that were asked for."""

    def _carry_out(self, studies: Sequence[OpenStudy], call: Call, **_: Any) -> bool:
        for opened in studies:
            trained = 0
            while trained != self.num_here and (trial := opened.ledger.next_trial()) is not None:
                self._train(trial, opened)
                trained += 1
            opened.journal.append("run", state="finished")
        folders = [opened.setup.folder for opened in studies]
        uploader = Uploader(folders, tracking_uri(self.storage), self.storage / "artifacts")
        return uploader.start().finish(600)

    def _train(self, trial: Trial, opened: OpenStudy) -> None:
        setup = opened.setup
        for fold in setup.plan.folds:
            task = FoldTask(
                study=opened.name,
                trial=trial.id,
                config=trial.config,
                fold=fold.index,
                until_epoch=setup.settings.epochs,
            )
            run = FoldRun(task, setup=setup, data=self.dataset, collective=SingleProcess())
            result = run.advance(task)
            assert result is not None
            opened.ledger.fold_finished(trial.id, result)
        opened.ledger.trial_finished(trial.id, "completed")

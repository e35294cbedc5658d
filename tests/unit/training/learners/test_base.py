from collections.abc import Callable
from dataclasses import replace

import pytest

from rayfold.errors import ModelError
from rayfold.jobs import FoldJob
from rayfold.training import FoldRun, StudySetup
from rayfold.training.learners import Supervised
from rayfold.training.references import LEARNERS


class Silent(Supervised):
    predicts = False


def test_a_learner_that_predicts_though_it_says_no_is_told_so(
    make_setup: Callable[..., StudySetup], make_run: Callable[..., FoldRun]
) -> None:
    setup = replace(make_setup(), learner=LEARNERS.source(Silent))
    job = FoldJob(trial="0000", config={}, fold=0, until_epoch=1)
    message = r"^Silent.validate_batch returns predictions, but Silent.predicts is False; change"
    with pytest.raises(ModelError, match=message):
        make_run(job, setup).advance(job)

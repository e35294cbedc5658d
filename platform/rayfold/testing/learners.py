"""What every learner promises, as tests to inherit."""

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from rayfold.jobs import FoldJob
from rayfold.library import model_source
from rayfold.results import Config, FoldResult
from rayfold.testing.fold_data import EPOCHS, NUM_VALIDATION, make_data, make_setup, same_state
from rayfold.training import FoldRun, SingleProcess, StudySetup
from rayfold.training.checkpoint import ShrinkAndPerturb, checkpoint_path, load_checkpoint
from rayfold.training.references import LEARNERS
from rayfold.training.warm_start import SourceTrial, WarmStart, tensor_shapes

MakeSetup = Callable[..., StudySetup]

RATE = "optimizer.learning_rate"


class LearnerContract:
    """Tests that a learner keeps the promises of ``rayfold.training.Learner``.

    They train a fold of 50 images of 4 x 4 in 3 classes. Inherit them in a test module, in a class
    whose name begins with ``Test``::

        class TestMine(LearnerContract):
            learner = "./mine.py:MyLearner"
            model = "./mine.py:MyModel"
            config = {"model.hidden": 8}

    Attributes:
        learner: Its name, a reference or the class.
        model: A model that it trains, likewise.
        config: A configuration that learns something in 3 epochs.
    """

    learner: ClassVar[str | type]
    model: ClassVar[str | type]
    config: ClassVar[Config] = {}

    @pytest.fixture
    def setup(self, tmp_path: Path) -> MakeSetup:
        """Make the setup of a study in a folder of its own: ``setup("name")``."""

        def make(name: str = "study", **changes: Any) -> StudySetup:
            learner = LEARNERS.source(self.learner)
            model = model_source(self.model)
            return make_setup(model, tmp_path / name, learner=learner, **changes)

        return make

    def test_it_reports_what_it_says(self, setup: MakeSetup) -> None:
        """A finite training loss, and each of ``reports``, after every epoch."""
        result = self._train(setup())
        names = ["train_loss", *(f"val_{name}" for name in LEARNERS.load(setup().learner).reports)]
        assert len(result.history) == EPOCHS
        for epoch in result.history:
            assert all(math.isfinite(epoch[name]) for name in names)

    def test_it_trains(self, setup: MakeSetup) -> None:
        """Weights change in the first epoch and in the last."""
        history = [self._state(setup(str(epoch)), until_epoch=epoch) for epoch in range(1, EPOCHS)]
        history.append(load_file(setup("last").folder / self._train(setup("last")).weights))
        for before, after in pairwise(history):
            assert not same_state(before, after)

    def test_the_same_seed_trains_the_same_to_the_last_bit(self, setup: MakeSetup) -> None:
        """Whatever else draws numbers in the process; another seed does not."""
        first = self._weights(setup("first"))
        torch.rand(3)
        assert same_state(first, self._weights(setup("second")))
        assert not same_state(first, self._weights(setup("other", random_seed=1)))

    def test_what_it_sets_of_pytorch_ends_with_the_fold(self, setup: MakeSetup) -> None:
        """Default type, threads and grad mode."""

        def settings() -> tuple[Any, ...]:
            return torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()

        before = settings()
        self._train(setup())
        assert settings() == before

    @pytest.mark.parametrize("epoch", range(1, EPOCHS))
    def test_it_goes_on_from_a_checkpoint_to_the_last_bit(
        self, setup: MakeSetup, epoch: int
    ) -> None:
        """With weights, moments, schedules and random numbers."""
        paused, whole = setup("paused"), setup("whole")
        self._run(paused).advance(self._job(until_epoch=epoch, save=True))
        torch.rand(3)
        again = self._run(paused)
        assert again.epoch == epoch
        result, expected = again.advance(self._job()), self._train(whole)
        assert result is not None
        assert result.score == expected.score
        assert same_state(
            load_file(paused.folder / result.weights), load_file(whole.folder / expected.weights)
        )

    @pytest.mark.parametrize("restart", [None, ShrinkAndPerturb(epoch=2, shrink=0.5, noise=0.0)])
    def test_a_population_copies_it(
        self, setup: MakeSetup, restart: ShrinkAndPerturb | None
    ) -> None:
        """Another trial goes on with its weights, by that trial's own learning rate.

        The rate is that of a training from the start with the other trial's configuration, so a
        schedule may change it.
        """
        study = setup()
        donor = self._job(until_epoch=2, save=True)
        self._run(study).advance(donor)
        given = checkpoint_path(study.folder / donor.checkpoints, 2, milestone=True)
        config = {**self.config, RATE: 0.007}
        taker = replace(donor, trial="0001", config=config, lineage=1)
        place = study.folder / taker.checkpoints
        place.mkdir(parents=True)
        shutil.copy2(given, place)
        if restart is not None:
            restart.write(place)
        run = FoldRun(taker, setup=study, data=make_data(), collective=SingleProcess())
        run.advance(replace(taker, until_epoch=2))
        assert run.epoch == 2
        state = load_checkpoint(given, torch.device("cpu"))["learner"]["model"]
        factor = 1.0 if restart is None else restart.shrink
        for name, parameter in run.model.named_parameters():
            torch.testing.assert_close(parameter.detach(), factor * state[name])
        assert run.advance(replace(taker, until_epoch=EPOCHS)) is not None
        alone = self._run(setup("alone"), config=config)
        alone.advance(self._job(config=config))
        rates = [each.history[-1]["learning_rate"] for each in (run, alone)]
        assert rates[0] == pytest.approx(rates[1])

    def test_its_weights_prime_another_study(self, setup: MakeSetup) -> None:
        """A fold that begins warm takes all of them."""
        first = setup("first")
        weights = first.folder / self._train(first).weights
        source = SourceTrial(
            number=0,
            study="first",
            study_id="1",
            trial="0000",
            shapes=tensor_shapes(load_file(weights)),
            same_outputs=True,
            folds=(0,),
        )
        warm_start = WarmStart(sources=(source,), shrink=1.0, noise=0.0)
        study = setup("second", warm_start=warm_start)
        place = study.folder / source.file(0)
        place.parent.mkdir(parents=True)
        shutil.copy2(weights, place)
        run = self._run(study, warm=True)
        past = load_file(weights)
        for name, parameter in run.model.named_parameters():
            assert torch.equal(parameter, past[name])
        result = run.advance(self._job(warm=True))
        assert result is not None
        assert result.initial is not None
        assert result.initial.num_loaded == result.initial.num_tensors

    def test_it_predicts_or_says_that_it_does_not(self, setup: MakeSetup) -> None:
        """Probabilities of each validation row; or no file, and no name of one."""
        study = setup()
        result = self._train(study)
        files = sorted(path.name for path in (study.folder / self._job().folder).iterdir())
        if not LEARNERS.load(study.learner).predicts:
            assert result.predictions is None
            assert files == ["result.json", "weights.safetensors"]
            return
        assert result.predictions is not None
        predictions = load_file(study.folder / result.predictions)["predictions"]
        assert predictions.shape == (NUM_VALIDATION, 3)
        torch.testing.assert_close(predictions.sum(1), torch.ones(NUM_VALIDATION))

    def _job(self, **changes: Any) -> FoldJob:
        values = {"trial": "0000", "config": self.config, "fold": 0, "until_epoch": EPOCHS}
        return FoldJob(**{**values, **changes})

    def _run(self, setup: StudySetup, **changes: Any) -> FoldRun:
        job = self._job(**changes)
        return FoldRun(job, setup=setup, data=make_data(), collective=SingleProcess())

    def _train(self, setup: StudySetup) -> FoldResult:
        result = self._run(setup).advance(self._job())
        assert result is not None
        return result

    def _weights(self, setup: StudySetup) -> dict[str, Tensor]:
        return load_file(setup.folder / self._train(setup).weights)

    def _state(self, setup: StudySetup, *, until_epoch: int) -> dict[str, Tensor]:
        run = self._run(setup)
        run.advance(self._job(until_epoch=until_epoch))
        return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}

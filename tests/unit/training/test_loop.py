import contextlib
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rayfold.data import DataSet
from rayfold.jobs import FoldJob
from rayfold.library import model_source, resolve_model
from rayfold.results import FoldResult
from rayfold.training import FoldRun, StudySetup
from rayfold.training.batches import batches_of, fold_seed
from rayfold.training.checkpoint import (
    ShrinkAndPerturb,
    load_checkpoint,
    newest_checkpoint,
)
from rayfold.training.loop import finished_result
from rayfold.tuning.states import take_over

# Everything that has a state of its own: dropout, a schedule and an optimiser with moments.
CONFIG = {
    "model.hidden": 8,
    "model.dropout": 0.5,
    "optimizer.name": "adamw",
    "optimizer.learning_rate": 0.05,
    "schedule.name": "cosine",
    "batch_size": 16,
}

CPU = torch.device("cpu")

MakeSetup = Callable[..., StudySetup]
MakeRun = Callable[..., FoldRun]


def fold_job(trial: str = "0000", fold: int = 0, until_epoch: int = 4, **changes: Any) -> FoldJob:
    config = {**CONFIG, **changes.pop("config", {})}
    return FoldJob(trial=trial, config=config, fold=fold, until_epoch=until_epoch, **changes)


def bare_job(trial: str = "0000", **changes: Any) -> FoldJob:
    """A job for a model that takes nothing of the configuration."""
    job = fold_job(trial, **changes)
    return replace(job, config={k: v for k, v in job.config.items() if not k.startswith("model.")})


def train(run: FoldRun, job: FoldJob) -> FoldResult:
    result = run.advance(job)
    assert result is not None
    return result


def losses(result: FoldResult) -> list[tuple[float, float]]:
    return [(epoch["train_loss"], epoch["val_loss"]) for epoch in result.history]


def weights_of(result: FoldResult, setup: StudySetup) -> dict[str, Tensor]:
    return load_file(setup.folder / result.weights)


def assert_same(
    first: FoldResult, first_setup: StudySetup, second: FoldResult, second_setup: StudySetup
) -> None:
    """Assert that two folds have the same scores, losses, weights and predictions, to the bit."""
    assert first.score == second.score
    assert losses(first) == losses(second)
    for first_file, second_file in (
        (first.weights, second.weights),
        (first.predictions, second.predictions),
    ):
        assert_equal_tensors(
            load_file(first_setup.folder / str(first_file)),
            load_file(second_setup.folder / str(second_file)),
        )


def assert_equal_tensors(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def recorder(batches: list[Tensor]) -> type[nn.Module]:
    """Return a model that keeps the batches that it is trained on in a list."""

    class Recorder(nn.Module):
        def __init__(self, *, num_outputs: int) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(num_outputs))

        def forward(self, features: Tensor) -> Tensor:
            if self.training:
                batches.append(features)
            return self.bias.expand(len(features), -1)

    return Recorder


class TestRepeating:
    def test_the_same_trial_twice_is_the_same_to_the_bit(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        first, second = make_setup("first"), make_setup("second")
        results = []
        for setup in (first, second):
            torch.rand(3)  # whatever else draws numbers in this process
            results.append(train(make_run(fold_job(), setup), fold_job()))
        assert_same(results[0], first, results[1], second)

    @pytest.mark.parametrize(
        "changed", [{"trial": "0001"}, {"config": {"model.dropout": 0.4}}], ids=["trial", "config"]
    )
    def test_another_trial_is_not_the_same(
        self, make_setup: MakeSetup, make_run: MakeRun, changed: dict[str, Any]
    ) -> None:
        setup = make_setup()
        first = train(make_run(fold_job(), setup), fold_job())
        job = fold_job(**changed)
        second = train(make_run(job, make_setup("second")), job)
        assert losses(first) != losses(second)

    def test_another_seed_of_the_study_is_not_the_same(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        results = [
            train(make_run(fold_job(), make_setup(f"seed {seed}", random_seed=seed)), fold_job())
            for seed in (0, 1)
        ]
        assert losses(results[0]) != losses(results[1])

    def test_a_fixed_hyperparameter_counts_like_a_searched_one(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        searched, fixed = make_setup("searched"), make_setup("fixed", parameters=CONFIG)
        job = FoldJob(trial="0000", config={}, fold=0, until_epoch=4)
        first = train(make_run(fold_job(), searched), fold_job())
        assert_same(first, searched, train(make_run(job, fixed), job), fixed)

    def test_a_seed_follows_from_study_trial_and_fold(self) -> None:
        seeds = {
            fold_seed(study, trial, fold)
            for study in (0, 1)
            for trial in ("0000", "0001")
            for fold in (0, 1)
        }
        assert len(seeds) == 8
        assert all(0 <= seed < 2**31 for seed in seeds)
        assert fold_seed(0, "0000", 0) == fold_seed(0, "0000", 0)


class TestBatches:
    def test_each_epoch_sees_every_training_row_once_in_an_order_of_its_own(
        self, data: DataSet, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        """40 training rows make batches of 16, 16 and 8."""
        batches: list[Tensor] = []
        setup = replace(make_setup(epochs=2), model=model_source(recorder(batches)))
        job = FoldJob(trial="0000", config={"batch_size": 16}, fold=0, until_epoch=2)
        train(make_run(job, setup), job)
        assert [len(batch) for batch in batches] == [16, 16, 8, 16, 16, 8]
        first, second = torch.cat(batches[:3]), torch.cat(batches[3:])
        assert not torch.equal(first, second)
        expected = sorted(data.features[0][setup.plan.folds[0].training_rows].tolist())
        assert sorted(first.tolist()) == sorted(second.tolist()) == expected


class TestGoingOn:
    @pytest.mark.parametrize("epoch", [1, 2, 3])
    def test_interrupted_and_gone_on_is_the_same_as_uninterrupted(
        self, make_setup: MakeSetup, make_run: MakeRun, epoch: int
    ) -> None:
        whole, parted = make_setup("whole"), make_setup("parted")
        first = make_run(fold_job(), parted)
        assert first.advance(fold_job(), should_stop=lambda: first.epoch == epoch) is None
        assert first.epoch == epoch
        torch.manual_seed(123)
        second = make_run(fold_job(), parted)
        assert second.epoch == epoch
        expected = train(make_run(fold_job(), whole), fold_job())
        assert_same(train(second, fold_job()), parted, expected, whole)

    def test_what_came_after_the_last_checkpoint_is_trained_again(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        whole, parted = make_setup("whole"), make_setup("parted")
        first = make_run(fold_job(), parted)
        first.advance(fold_job(until_epoch=2, save=True))
        first.advance(fold_job(until_epoch=3))
        second = make_run(fold_job(), parted)
        assert (first.epoch, second.epoch) == (3, 2)
        expected = train(make_run(fold_job(), whole), fold_job())
        assert_same(train(second, fold_job()), parted, expected, whole)

    def test_checkpoints_come_after_so_many_seconds(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        for seconds, names in ((0.0, ["epoch_00002.pt", "epoch_00003.pt"]), (3600.0, [])):
            setup = make_setup(f"after {seconds}", checkpoint_seconds=seconds)
            make_run(fold_job(), setup).advance(fold_job(until_epoch=3))
            folder = setup.folder / fold_job().folder
            assert sorted(path.name for path in folder.glob("*")) == names

    def test_epoch_by_epoch_is_the_same_as_at_once(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        whole, parted = make_setup("whole"), make_setup("parted")
        run = make_run(fold_job(), parted)
        for epoch in (1, 2, 3):
            assert run.advance(fold_job(until_epoch=epoch)) is None
        expected = train(make_run(fold_job(), whole), fold_job())
        assert_same(train(run, fold_job()), parted, expected, whole)

    def test_two_folds_that_take_turns_are_the_same_as_each_alone(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        alone, turns = make_setup("alone"), make_setup("turns")
        runs = [make_run(fold_job(fold=fold), turns) for fold in (0, 1)]
        for epoch in (1, 2, 3):
            for fold, run in enumerate(runs):
                run.advance(fold_job(fold=fold, until_epoch=epoch))
        for fold, run in enumerate(runs):
            job = fold_job(fold=fold)
            expected = train(make_run(job, alone), job)
            assert_same(train(run, job), turns, expected, alone)

    def test_an_order_that_is_done_already_trains_nothing(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        run = make_run(fold_job(), make_setup())
        run.advance(fold_job(until_epoch=2))
        before = run.history
        assert run.advance(fold_job(until_epoch=2)) is None
        assert run.history == before

    def test_a_checkpoint_is_written_when_the_order_asks_for_it(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        setup = make_setup()
        run = make_run(fold_job(), setup)
        run.advance(fold_job(until_epoch=1))
        assert newest_checkpoint(setup.folder / fold_job().folder) is None
        run.advance(fold_job(until_epoch=2, save=True))
        folder = setup.folder / "trials" / "0000" / "fold_0"
        assert newest_checkpoint(folder) == folder / "milestone_00002.pt"

    def test_a_fold_that_another_group_has_taken_further_is_outdated(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        setup = make_setup()
        first, second = make_run(fold_job(), setup), make_run(fold_job(), setup)
        first.advance(fold_job(until_epoch=1, save=True))
        assert not first.is_outdated()
        assert second.is_outdated()
        second.advance(fold_job(until_epoch=2))
        assert not second.is_outdated()


def copy_states(setup: StudySetup, *, restart: ShrinkAndPerturb | None = None) -> tuple[str, ...]:
    """Have trial 0001 take over the states of trial 0000 after epoch 2."""
    return take_over(
        setup.folder,
        trial="0001",
        lineage=1,
        donor="0000",
        donor_lineage=0,
        epoch=2,
        num_folds=3,
        restart=restart,
    )


class TestLineages:
    def test_every_fold_begins_with_the_donors_weights_of_the_same_fold(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        """Trial 0001 has trained to epoch 3 on its own; what it takes over is of epoch 2."""
        setup, config = make_setup(), {"optimizer.learning_rate": 0.005}
        for fold in range(3):
            for job in (
                fold_job("0000", fold, until_epoch=2, save=True),
                fold_job("0001", fold, until_epoch=3, save=True, config=config),
            ):
                make_run(job, setup).advance(job)
        digests = copy_states(setup)
        assert len(set(digests)) == 3
        for fold in range(3):
            job = fold_job("0001", fold, until_epoch=3, save=True, config=config, lineage=1)
            run = make_run(job, setup)
            assert run.epoch == 2
            giver = fold_job("0000", fold)
            given = load_checkpoint(setup.folder / giver.folder / "milestone_00002.pt", CPU)
            assert list(run.history) == given["history"]
            assert_equal_tensors(run._learner.state_dict()["model"], given["learner"]["model"])
            run.advance(job)
            # the cosine over 4 epochs stands at a half
            assert run.history[2]["learning_rate"] == pytest.approx(0.5 * 0.005)
            own = setup.folder / job.checkpoints
            assert own.name == "lineage_1"
            assert newest_checkpoint(own) == own / "milestone_00003.pt"

    def test_it_goes_on_from_another_folds_state_as_that_one_does(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        """Only the order of the rows is its own, which matters not where all are one batch."""
        setup, config = make_setup(), {"batch_size": 40, "model.dropout": 0.0}
        runs = []
        for fold in range(3):
            runs.append(make_run(fold_job(fold=fold, config=config), setup))
            runs[fold].advance(fold_job(fold=fold, until_epoch=2, save=True))
        copy_states(setup)
        job = fold_job("0001", config=config, lineage=1)
        taken = train(make_run(job, setup), job)
        given = train(runs[0], fold_job())
        assert [loss for pair in losses(taken) for loss in pair] == pytest.approx(
            [loss for pair in losses(given) for loss in pair], rel=1e-4
        )

    def test_a_restart_is_made_of_that_milestone_only(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        """What is written after it is taken up as it is."""
        setup = make_setup()
        for fold in range(3):
            job = fold_job(fold=fold, until_epoch=2, save=True)
            make_run(job, setup).advance(job)
        copy_states(setup, restart=ShrinkAndPerturb(epoch=2, shrink=0.25, noise=0.0))
        job = fold_job("0001", until_epoch=3, save=True, lineage=1)
        run = make_run(job, setup)
        given = load_checkpoint(setup.folder / fold_job().folder / "milestone_00002.pt", CPU)
        for name, weights in given["learner"]["model"].items():
            torch.testing.assert_close(run._learner.state_dict()["model"][name], 0.25 * weights)
        run.advance(job)
        again = make_run(job, setup)._learner.state_dict()["model"]
        for name, weights in run._learner.state_dict()["model"].items():
            assert torch.equal(again[name], weights)


class TestResults:
    def test_a_finished_fold_leaves_its_three_files_and_no_checkpoint(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        setup = make_setup(checkpoint_seconds=0.0)
        result = train(make_run(fold_job(fold=1), setup), fold_job(fold=1))
        folder = setup.folder / "trials" / "0000" / "fold_1"
        assert sorted(path.name for path in folder.iterdir()) == [
            "predictions.safetensors",
            "result.json",
            "weights.safetensors",
        ]
        assert setup.folder / result.weights == folder / "weights.safetensors"
        assert setup.folder / str(result.predictions) == folder / "predictions.safetensors"

    def test_predictions_are_the_validation_rows_out_of_fold(
        self, data: DataSet, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        setup = make_setup(metrics=("accuracy",))
        result = train(make_run(fold_job(), setup), fold_job())
        saved = load_file(setup.folder / str(result.predictions))
        rows = setup.plan.folds[0].validation_rows
        assert saved["rows"].tolist() == rows.tolist()
        assert saved["labels"].tolist() == data.labels[rows].tolist()
        assert saved["predictions"].shape == (len(rows), 3)
        true = saved["predictions"][range(len(rows)), saved["labels"]]
        assert -true.log().mean().item() == pytest.approx(result.history[-1]["val_loss"], rel=1e-5)
        hits = (saved["predictions"].argmax(1) == saved["labels"]).float().mean().item()
        assert hits == pytest.approx(result.history[-1]["val_accuracy"])

    def test_the_saved_weights_give_the_saved_predictions(
        self, data: DataSet, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        setup = make_setup()
        result = train(make_run(fold_job(), setup), fold_job())
        model = setup.model_class(input_shapes=((4,),), num_outputs=3, hidden=8).eval()
        model.load_state_dict(weights_of(result, setup))
        rows = setup.plan.folds[0].validation_rows
        with torch.no_grad():
            outputs = model(torch.from_numpy(data.features[0][rows])).softmax(1)
        saved = load_file(setup.folder / str(result.predictions))
        torch.testing.assert_close(outputs, saved["predictions"])

    def test_the_history_tells_every_epoch(self, make_setup: MakeSetup, make_run: MakeRun) -> None:
        setup = make_setup(metrics=("accuracy", "f1"), metric="val_f1", mode="max")
        result = train(make_run(fold_job(), setup), fold_job())
        assert len(result.history) == 4
        assert result.score == result.history[-1]["val_f1"]
        assert list(result.history[0]) == [
            "train_loss",
            "val_loss",
            "val_accuracy",
            "val_f1",
            "learning_rate",
            "seconds",
            "finished_at",
        ]
        half = 0.5**0.5
        rates = [epoch["learning_rate"] for epoch in result.history]
        assert rates == pytest.approx([0.05 * f for f in (1, (1 + half) / 2, 0.5, (1 - half) / 2)])
        assert result.started_at <= result.history[0]["finished_at"] <= result.finished_at
        assert result.busy_seconds == pytest.approx(
            sum(epoch["seconds"] for epoch in result.history), rel=0.1, abs=0.05
        )

    def test_training_lowers_the_loss(self, make_setup: MakeSetup, make_run: MakeRun) -> None:
        job = fold_job(until_epoch=20, config={"model.dropout": 0.0})
        result = train(make_run(job, make_setup(epochs=20)), job)
        assert result.history[-1]["train_loss"] < result.history[0]["train_loss"] / 2

    def test_a_finished_fold_is_found_again(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        setup = make_setup()
        assert finished_result(fold_job(), setup.folder) is None
        result = train(make_run(fold_job(), setup), fold_job())
        assert finished_result(fold_job(), setup.folder) == result
        assert finished_result(fold_job(fold=1), setup.folder) is None
        text = (setup.folder / fold_job().folder / "result.json").read_text()
        assert json.loads(text)["score"] == result.score

    def test_the_validation_does_not_depend_on_how_many_rows_it_takes_at_once(
        self, make_setup: MakeSetup, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        at_once = train(make_run(fold_job(), make_setup("once")), fold_job())
        monkeypatch.setattr("rayfold.training.loop.EVALUATION_ROWS", 7)
        by_seven = train(make_run(fold_job(), make_setup("seven")), fold_job())
        assert by_seven.score == pytest.approx(at_once.score, rel=1e-5)


class TestTasksAndInputs:
    @pytest.mark.parametrize("num_outputs", [1, 2])
    def test_regression(
        self,
        regression: Callable[[int], DataSet],
        make_setup: MakeSetup,
        make_run: MakeRun,
        num_outputs: int,
    ) -> None:
        data = regression(num_outputs)
        setup = make_setup(data=data, metrics=("mse", "mae", "r2"), metric="val_r2", mode="max")
        result = train(make_run(fold_job(), setup, data), fold_job())
        saved = load_file(setup.folder / str(result.predictions))
        rows = setup.plan.folds[0].validation_rows
        assert saved["predictions"].shape == saved["labels"].shape == (len(rows), num_outputs)
        assert saved["labels"].dtype == torch.float32
        assert saved["labels"].tolist() == data.labels[rows].tolist()
        errors = saved["predictions"] - saved["labels"]
        last = result.history[-1]
        assert (errors**2).mean().item() == pytest.approx(last["val_loss"], rel=1e-5)
        assert last["val_mse"] == pytest.approx(last["val_loss"], rel=1e-5)
        assert errors.abs().mean().item() == pytest.approx(last["val_mae"], rel=1e-5)
        spread = ((saved["labels"] - saved["labels"].mean(0)) ** 2).sum(0)
        assert result.score == pytest.approx(
            (1 - (errors**2).sum(0) / spread).mean().item(), rel=1e-4
        )

    def test_several_feature_arrays_reach_the_model(
        self, two_inputs: DataSet, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        """4 numbers and 2 x 3 bytes make 10 inputs."""
        setup = make_setup(data=two_inputs)
        result = train(make_run(fold_job(), setup, two_inputs), fold_job())
        assert weights_of(result, setup)["layers.0.weight"].shape == (8, 10)
        assert len(result.history) == 4

    def test_bytes_are_scaled_before_training_as_before_prediction(
        self, two_inputs: DataSet, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        setup = make_setup(data=two_inputs)
        result = train(make_run(fold_job(), setup, two_inputs), fold_job())
        model = setup.model_class(input_shapes=((4,), (2, 3)), num_outputs=3, hidden=8).eval()
        model.load_state_dict(weights_of(result, setup))
        rows = setup.plan.folds[0].validation_rows
        first, second = (torch.from_numpy(array[rows]) for array in two_inputs.features)
        with torch.no_grad():
            outputs = model(first, second.float() / 255).softmax(1)
        saved = load_file(setup.folder / str(result.predictions))
        torch.testing.assert_close(outputs, saved["predictions"])


class TestDivergence:
    CONFIG = {"optimizer.name": "sgd", "optimizer.learning_rate": 1e6}

    def test_a_loss_beyond_numbers_names_the_fold(
        self, regression: Callable[[int], DataSet], make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        data = regression(1)
        job = fold_job(fold=1, config=self.CONFIG)
        run = make_run(job, make_setup(data=data), data)
        with pytest.raises(
            FloatingPointError,
            match=r"^fold 1 diverged: \w+_loss is (nan|inf) after epoch \d; a smaller optimizer",
        ):
            run.advance(job)

    def test_it_leaves_no_result(
        self, regression: Callable[[int], DataSet], make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        data = regression(1)
        setup, job = make_setup(data=data), fold_job(config=self.CONFIG)
        with pytest.raises(FloatingPointError):
            make_run(job, setup, data).advance(job)
        assert finished_result(job, setup.folder) is None
        assert newest_checkpoint(setup.folder / job.folder) is None


def test_an_order_names_its_fold_and_its_folder() -> None:
    assert fold_job("0007", fold=2).key == ("", "0007", 2)
    assert fold_job("0007", fold=2).folder == Path("trials/0007/fold_2")


def test_a_fold_within_a_part_trains_on_it_is_scored_by_it_and_predicts_all(
    data: DataSet, make_setup: MakeSetup, make_run: MakeRun
) -> None:
    """The loss of the part's rows alone, worked out from what the fold has predicted."""
    part = np.arange(60) % 4 == 0
    whole = make_setup(metrics=("accuracy",))
    setup = replace(whole, plan=whole.plan.within(part))
    run = make_run(fold_job(), setup)
    result = train(run, fold_job())
    tensors = load_file(setup.folder / str(result.predictions))
    assert tensors["rows"].tolist() == whole.plan.folds[0].validation_rows.tolist()
    mine = torch.from_numpy(part)[tensors["rows"]]
    assert 0 < mine.sum() < len(mine)
    true = tensors["predictions"][range(len(mine)), tensors["labels"]]
    assert result.score == pytest.approx(-true[mine].log().mean().item(), rel=1e-5)
    right = tensors["predictions"].argmax(1) == tensors["labels"]
    assert result.history[-1]["val_accuracy"] == pytest.approx(right[mine].float().mean().item())
    assert len(setup.plan.folds[0].training_rows) == 10


class Drawing(nn.Module):
    """Its weights are Python's and NumPy's, and it adds noise of all three."""

    def __init__(self, *, num_outputs: int) -> None:
        super().__init__()
        begin = np.random.normal(size=num_outputs) + random.random()
        self.bias = nn.Parameter(torch.tensor(begin, dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        noise = random.gauss(0, 1) + np.random.normal() + float(torch.randn(()))
        return self.bias.expand(len(features), -1) + noise * features[:, :1]


class TestGenerators:
    def test_a_model_that_draws_from_numpy_and_python_is_repeated_to_the_bit(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        ends = []
        for folder in ("first", "second"):
            setup = replace(make_setup(folder), model=model_source(Drawing))
            random.seed()
            np.random.seed()
            ends.append(losses(train(make_run(bare_job(), setup), bare_job())))
        assert ends[0] == ends[1]

    @pytest.mark.parametrize("pause", ["file", "turns"])
    def test_it_goes_on_with_the_same_numbers_after_a_pause(
        self, make_setup: MakeSetup, make_run: MakeRun, pause: str
    ) -> None:
        job = bare_job()
        whole = train(
            make_run(job, replace(make_setup("whole"), model=model_source(Drawing))), job
        )
        setup = replace(make_setup("paused"), model=model_source(Drawing))
        run = make_run(job, setup)
        run.advance(replace(job, until_epoch=2, save=True))
        other = bare_job(fold=1)
        train(make_run(other, setup), other)  # another fold takes its turn in this process
        np.random.seed(0)
        random.seed(0)
        paused = train(make_run(job, setup) if pause == "file" else run, job)
        assert losses(paused) == losses(whole)

    def test_a_checkpoint_of_pytorchs_generators_alone_is_taken_up(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        setup = make_setup()
        whole = train(make_run(fold_job(), make_setup("whole")), fold_job())
        make_run(fold_job(), setup).advance(fold_job(until_epoch=2, save=True))
        path = setup.folder / fold_job().folder / "milestone_00002.pt"
        state = load_checkpoint(path, CPU)
        torch.save({**state, "generators": [state["generators"]["torch"]]}, path)
        assert losses(train(make_run(fold_job(), setup), fold_job())) == losses(whole)

    def test_a_checkpoint_of_0_1_0_is_taken_up(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        """It held the learner's state beside the rest, and none of a strategy."""
        setup = make_setup()
        whole = train(make_run(fold_job(), make_setup("whole")), fold_job())
        make_run(fold_job(), setup).advance(fold_job(until_epoch=2, save=True))
        path = setup.folder / fold_job().folder / "milestone_00002.pt"
        state = load_checkpoint(path, CPU)
        learner = state.pop("learner")
        del state["strategy"]
        torch.save({**learner, **state}, path)
        assert losses(train(make_run(fold_job(), setup), fold_job())) == losses(whole)

    def test_drawing_while_it_predicts_shifts_nothing_of_the_training(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        class Noisy(resolve_model("mlp")):  # type: ignore[misc]
            def forward(self, *features: Tensor) -> Tensor:
                if not self.training:
                    torch.rand(7)
                return super().forward(*features)

        plain = train(make_run(fold_job(), make_setup("plain")), fold_job())
        noisy = train(
            make_run(fold_job(), replace(make_setup(), model=model_source(Noisy))), fold_job()
        )
        assert losses(noisy) == losses(plain)


class TestIsolation:
    def test_what_a_model_does_to_the_process_ends_with_its_call(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        class Meddling(resolve_model("mlp")):  # type: ignore[misc]
            def __init__(
                self, *, input_shapes: Any, num_outputs: int, hidden: int, dropout: float
            ) -> None:
                super().__init__(
                    input_shapes=input_shapes,
                    num_outputs=num_outputs,
                    hidden=hidden,
                    dropout=dropout,
                )
                torch.set_num_threads(torch.get_num_threads() + 1)
                torch.set_default_dtype(torch.float64)

            def forward(self, *features: Tensor) -> Tensor:
                outputs = super().forward(*features)
                features[0].zero_()
                torch.set_grad_enabled(not self.training)
                torch.set_default_dtype(torch.float64)
                torch.set_default_device("meta")
                return outputs

        threads = torch.get_num_threads()
        plain = train(make_run(fold_job(), make_setup("plain")), fold_job())
        setup = replace(make_setup(), model=model_source(Meddling))
        assert losses(train(make_run(fold_job(), setup), fold_job())) == losses(plain)
        assert torch.get_num_threads() == threads
        assert torch.is_grad_enabled()
        assert torch.empty(0).dtype == torch.float32

    def test_what_one_trial_does_to_pytorch_reaches_no_other(
        self, make_setup: MakeSetup, make_run: MakeRun, caplog: pytest.LogCaptureFixture
    ) -> None:
        mlp: Any = resolve_model("mlp")

        def zeros(layer: nn.Linear, rows: Tensor) -> Tensor:
            return rows.new_zeros(len(rows), layer.out_features, requires_grad=True)

        class Patching(mlp):
            def forward(self, *features: Tensor) -> Tensor:
                outputs: Tensor = super().forward(*features)
                setattr(nn.Linear, "forward", zeros)  # noqa: B010
                nn.modules.module.register_module_forward_hook(lambda *given: given[2] * 0)
                torch.set_flush_denormal(True)
                np.seterr(all="raise")
                return outputs

        before = losses(train(make_run(fold_job(), make_setup("before")), fold_job()))
        setup = replace(make_setup("patching"), model=model_source(Patching))
        job = fold_job("0001")
        with contextlib.suppress(Exception):  # its own training may fail by it
            make_run(job, setup).advance(job)
        assert losses(train(make_run(fold_job(), make_setup("after")), fold_job())) == before
        assert "A model's code has replaced Linear.forward" in caplog.text

    def test_a_constructor_may_change_the_lists_that_it_is_given(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        class Popping(nn.Module):
            def __init__(self, *, sizes: list[list[int]]) -> None:
                super().__init__()
                self.layer = nn.Linear(4, sizes[0].pop())

            def forward(self, features: Tensor) -> Tensor:
                return self.layer(features)

        config: dict[str, Any] = {**bare_job().config, "model.sizes": [[3, 3]]}
        setup = replace(make_setup(), model=model_source(Popping))
        for fold in range(2):
            job = replace(bare_job(fold=fold), config=config)
            train(make_run(job, setup), job)
        assert config["model.sizes"] == [[3, 3]]

    def test_buffers_that_change_while_it_predicts_are_as_training_left_them(
        self, data: DataSet, make_setup: MakeSetup, make_run: MakeRun, monkeypatch: Any
    ) -> None:
        """Each batch of one row is predicted with what is saved."""

        class Counting(nn.Module):
            calls: Tensor

            def __init__(self, *, num_outputs: int) -> None:
                super().__init__()
                self.bias = nn.Parameter(torch.zeros(num_outputs))
                self.register_buffer("calls", torch.zeros(()))

            def forward(self, features: Tensor) -> Tensor:
                self.calls += 1
                return self.bias.expand(len(features), -1) * self.calls

        monkeypatch.setattr("rayfold.training.loop.EVALUATION_ROWS", 1)
        setup = replace(make_setup(), model=model_source(Counting))
        job = bare_job()
        result = train(make_run(job, setup), job)
        saved = load_file(setup.folder / str(result.predictions))["predictions"]
        weights = weights_of(result, setup)
        assert weights["calls"].item() == 4 * 3  # epochs times batches of 16 in 40 rows
        expected = (weights["bias"] * (weights["calls"] + 1)).softmax(0)
        torch.testing.assert_close(saved, expected.expand(20, -1))


class TestBatchSizes:
    @pytest.mark.parametrize(
        ("num_rows", "batch_size", "expected"),
        [
            (9, 4, [4, 5]),
            (8, 4, [4, 4]),
            (10, 4, [4, 4, 2]),
            (3, 1, [1, 1, 1]),
            (1, 4, [1]),
            (5, 4, [5]),
            (3, 2, [3]),
        ],
    )
    def test_a_lone_last_row_joins_the_batch_before(
        self, num_rows: int, batch_size: int, expected: list[int]
    ) -> None:
        rows = range(num_rows)
        batches = [rows[batch] for batch in batches_of(num_rows, batch_size)]
        assert [len(batch) for batch in batches] == expected
        assert [row for batch in batches for row in batch] == list(rows)

    def test_batch_normalisation_trains_where_one_row_is_left_over(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        """Of 40 rows in batches of 13, one is left over."""

        class Normalised(nn.Module):
            def __init__(self, *, num_outputs: int) -> None:
                super().__init__()
                self.layers = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, num_outputs))

            def forward(self, features: Tensor) -> Tensor:
                return self.layers(features)

        setup = replace(make_setup(), model=model_source(Normalised))
        job = bare_job(config={"batch_size": 13})
        assert train(make_run(job, setup), job).score < 1.2


class TestDamagedFiles:
    @pytest.mark.parametrize("damage", [b"", b"PK", b"{}"])
    @pytest.mark.parametrize("both", [False, True])
    def test_a_damaged_checkpoint_is_put_aside_and_the_fold_goes_on_from_the_one_before(
        self,
        make_setup: MakeSetup,
        make_run: MakeRun,
        caplog: pytest.LogCaptureFixture,
        damage: bytes,
        both: bool,
    ) -> None:
        whole = train(make_run(fold_job(), make_setup("whole")), fold_job())
        setup = make_setup()
        run = make_run(fold_job(), setup)
        for epoch in (1, 2):
            run.advance(fold_job(until_epoch=epoch, save=True))
        folder = setup.folder / fold_job().folder
        for number in (1, 2) if both else (2,):
            (folder / f"milestone_0000{number}.pt").write_bytes(damage)
        again = make_run(fold_job(), setup)
        assert again.epoch == (0 if both else 1)
        assert (folder / "milestone_00002.pt.damaged").read_bytes() == damage
        assert "milestone_00002.pt cannot be read" in caplog.text
        assert losses(train(again, fold_job())) == losses(whole)

    def test_a_checkpoint_cut_off_anywhere_is_put_aside(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        setup = make_setup()
        make_run(fold_job(), setup).advance(fold_job(until_epoch=1, save=True))
        path = setup.folder / fold_job().folder / "milestone_00001.pt"
        content = path.read_bytes()
        for part in range(1, 8):
            path.write_bytes(content[: len(content) * part // 8])
            assert make_run(fold_job(), setup).epoch == 0
            assert not path.exists()

    @pytest.mark.parametrize("damage", ["", "{}", "[]", "null", '{"fold": 0'])
    def test_a_fold_whose_result_is_damaged_is_trained_again(
        self, make_setup: MakeSetup, make_run: MakeRun, damage: str
    ) -> None:
        setup = make_setup()
        path = setup.folder / fold_job().folder / "result.json"
        path.parent.mkdir(parents=True)
        path.write_text(damage)
        assert finished_result(fold_job(), setup.folder) is None
        assert not path.exists()
        result = train(make_run(fold_job(), setup), fold_job())
        assert finished_result(fold_job(), setup.folder) == result


class TestExplosion:
    def test_a_loss_that_explodes_is_told_with_the_scale_that_does_it(
        self,
        regression: Callable[[int], DataSet],
        make_setup: MakeSetup,
        make_run: MakeRun,
    ) -> None:
        data = regression(1)
        features = data.features[0] * np.array([1, 1, 1, 300], np.float32)
        data = replace(data, features=(features,))
        job = fold_job(config={"optimizer.name": "sgd", "optimizer.learning_rate": 1e-3})
        setup = make_setup(data=data)
        message = r"^fold 0 diverged: \w+_loss is .* epoch \d; the scale of features_0, column 3 "
        with pytest.raises(
            FloatingPointError, match=message + r"\(mean .*, deviation .*\) is far"
        ):
            train(make_run(job, setup, data=data), job)

    def test_a_finite_loss_a_million_times_that_of_the_untrained_model_has_diverged(
        self, make_setup: MakeSetup, make_run: MakeRun
    ) -> None:
        class Exploding(nn.Module):
            factor: Tensor

            def __init__(self, *, num_outputs: int) -> None:
                super().__init__()
                self.bias = nn.Parameter(torch.zeros(num_outputs))
                self.register_buffer("factor", torch.ones(()))

            def forward(self, features: Tensor) -> Tensor:
                if self.training:
                    self.factor *= 1e3  # 1e3, 1e6, 1e9 in the first epoch
                signs = torch.tensor([1.0, -1.0, 1.0])
                return (self.bias + signs * self.factor).expand(len(features), -1)

        setup = replace(make_setup(), model=model_source(Exploding))
        with pytest.raises(
            FloatingPointError, match=r"fold 0 diverged: \w+_loss is \d.* epoch [23]"
        ):
            train(make_run(bare_job(), setup), bare_job())

    @pytest.mark.parametrize("offset", [0.0, 1e4, 1e5])
    def test_a_first_epoch_on_raw_targets_never_counts(
        self,
        regression: Callable[[int], DataSet],
        make_setup: MakeSetup,
        make_run: MakeRun,
        offset: float,
    ) -> None:
        """Their variance is about 2, the first losses are up to 1e10."""
        data = regression(1)
        data = replace(data, labels=data.labels + np.float32(offset))
        job = fold_job(config={"model.dropout": 0.0})
        assert train(make_run(job, make_setup(data=data), data=data), job).score > 0


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_channels_last_train_bit_for_bit_as_the_same_rows_with_channels_first(
    data: DataSet, make_setup: MakeSetup, make_run: MakeRun, dtype: str
) -> None:
    images = np.random.default_rng(3).integers(0, 256, (60, 6, 5, 3)).astype(dtype)
    moved = np.ascontiguousarray(np.moveaxis(images, -1, 1))
    job = fold_job(until_epoch=2, config={"model.channels": 4, "model.blocks": 1})
    job = replace(job, config={k: v for k, v in job.config.items() if k != "model.hidden"})
    weights = []
    stored_first = replace(data, features=(moved,))
    stored_last = replace(data, features=(images,), channels="last")
    for folder, given in (("first", stored_first), ("last", stored_last)):
        setup = replace(make_setup(folder, data=given, epochs=2), model=model_source("cnn"))
        result = train(make_run(job, setup, data=given), job)
        file = setup.folder / job.folder / "weights.safetensors"
        weights.append((result.score, load_file(file)))
    (score, first), (same_score, last) = weights
    assert score == same_score
    assert first.keys() == last.keys()
    assert all(torch.equal(first[name], last[name]) for name in first)

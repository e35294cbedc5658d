"""Fold models that begin with weights of others, on real files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from rayfold.data import DataSet
from rayfold.jobs import FoldJob
from rayfold.results import Config
from rayfold.training import Batch, FoldRun, SingleProcess, StudySetup
from rayfold.training.learners import Supervised
from rayfold.training.strategies import AllReduce
from rayfold.training.warm_start import SourceTrial, WarmStart, output_tensors, tensor_shapes

MakeSetup = Callable[..., StudySetup]
MakeRun = Callable[..., FoldRun]
CONFIG: Config = {"model.hidden": 8, "model.depth": 1, "optimizer.name": "sgd"}


@pytest.fixture
def past(data: DataSet, make_setup: MakeSetup) -> dict[str, Tensor]:
    """The weights of a model of CONFIG, all of them 2."""
    learner = Supervised(
        CONFIG,
        setup=make_setup(),
        data=data,
        strategy=AllReduce(SingleProcess()),
        steps_per_epoch=1,
    )
    return {name: torch.full_like(t, 2.0) for name, t in learner.model.state_dict().items()}


def source_of(
    weights: dict[str, Tensor], folder: Path, number: int = 0, **changes: Any
) -> SourceTrial:
    fields = {
        "number": number,
        "study": "digits",
        "study_id": "a" * 32,
        "trial": f"{number:04d}",
        "shapes": tensor_shapes(weights),
        "same_outputs": True,
        "folds": (0, 1, None),
    }
    source = SourceTrial(**{**fields, **changes})
    for fold in (0, 1):
        path = folder / source.file(fold)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor + fold for name, tensor in weights.items()}, path)
    return source


@pytest.fixture
def warm_setup(make_setup: MakeSetup, past: dict[str, Tensor]) -> Callable[..., StudySetup]:
    def make(same_outputs: bool = True, epochs: int = 4, **how: Any) -> StudySetup:
        setup = make_setup(epochs=epochs)
        source = source_of(past, setup.folder, same_outputs=same_outputs)
        given = {"shrink": 0.5, "noise": 0.1, **how}
        return replace(setup, warm_start=WarmStart(sources=(source,), **given))

    return make


def learner_of(
    setup: StudySetup, data: DataSet, warm: tuple[int, int] | None, steps: int = 1, **config: Any
) -> Supervised:
    torch.manual_seed(0)
    return Supervised(
        {**CONFIG, **config},
        setup=setup,
        data=data,
        strategy=AllReduce(SingleProcess()),
        steps_per_epoch=steps,
        warm=warm,
    )


def state_of(learner: Supervised) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}


def test_loaded_weights_are_shrunk_and_perturbed(
    data: DataSet, warm_setup: Callable[..., StudySetup]
) -> None:
    setup = warm_setup()
    fresh, warm = (state_of(learner_of(setup, data, warm)) for warm in (None, (1, 0)))
    assert fresh.keys() == warm.keys()
    for name, tensor in fresh.items():  # fold 1 of the source holds threes
        torch.testing.assert_close(warm[name], 0.1 * tensor + 0.5 * 3.0)


def test_what_was_loaded_is_told(data: DataSet, warm_setup: Callable[..., StudySetup]) -> None:
    setup = warm_setup()
    assert str(learner_of(setup, data, (1, 0)).initial) == "4 of 4 tensors of digits/0000, fold 1"
    assert learner_of(setup, data, None).initial is None


def test_tensors_of_other_shapes_stay_fresh(
    data: DataSet, warm_setup: Callable[..., StudySetup]
) -> None:
    learner = learner_of(warm_setup(), data, (0, 0), **{"model.depth": 2})
    assert learner.initial is not None
    # the second hidden layer takes the name of the old output layer, which has other shapes
    assert (learner.initial.num_loaded, learner.initial.num_tensors) == (2, 6)
    fresh = state_of(learner_of(warm_setup(), data, None, **{"model.depth": 2}))
    warm = state_of(learner)
    changed = {name for name in fresh if not torch.equal(fresh[name], warm[name])}
    assert changed == {"layers.0.weight", "layers.0.bias"}


def test_the_output_layer_begins_anew_where_something_else_is_predicted(
    data: DataSet, make_setup: MakeSetup, warm_setup: Callable[..., StudySetup]
) -> None:
    outputs = output_tensors(make_setup().model_class, CONFIG, data)
    assert outputs == {"layers.3.weight", "layers.3.bias"}
    setup = warm_setup(same_outputs=False)
    learner = learner_of(setup, data, (0, 0))
    assert learner.initial is not None
    assert learner.initial.num_loaded == 2
    fresh, warm = state_of(learner_of(setup, data, None)), state_of(learner)
    assert all(torch.equal(fresh[name], warm[name]) for name in outputs)


def test_a_fold_without_a_clean_model_begins_cold(
    data: DataSet, warm_setup: Callable[..., StudySetup]
) -> None:
    learner = learner_of(warm_setup(), data, (2, 0))
    assert learner.initial is None


def test_the_source_that_fits_most_is_taken_and_studies_take_turns(
    tmp_path: Path, past: dict[str, Tensor]
) -> None:
    narrow = {"layers.3.bias": past["layers.3.bias"]}
    sources = (
        source_of(narrow, tmp_path, 0),
        source_of(past, tmp_path, 1),
        source_of(past, tmp_path, 2),
        source_of(past, tmp_path, 3, study="letters", study_id="b" * 32),
    )
    warm_start = WarmStart(sources=sources, shrink=0.5, noise=0.1)
    shapes = tensor_shapes(past)
    taken = [warm_start.choose(shapes, (), fold=0, number=number) for number in range(3)]
    assert [source.number for source in taken if source] == [1, 3, 1]
    assert warm_start.choose({"other": (1,)}, (), fold=0, number=0) is None
    assert warm_start.choose(shapes, (), fold=2, number=0) is None
    assert WarmStart.from_dict(warm_start.to_dict()) == warm_start


def train(learner: Supervised, data: DataSet, steps: int) -> None:
    rows = Batch(
        tuple(torch.from_numpy(array) for array in data.features),
        torch.from_numpy(data.labels),
        total_rows=len(data.labels),
    )
    for _ in range(steps):
        learner.train_batch(rows)
        learner.end_batch()


def test_loaded_weights_are_frozen_first_and_learn_slowly_then(
    data: DataSet, warm_setup: Callable[..., StudySetup]
) -> None:
    setup = warm_setup(same_outputs=False, frozen_epochs=1, learning_rate_factor=0.1)
    learner = learner_of(setup, data, (0, 0), steps=2, **{"optimizer.learning_rate": 0.5})
    start = state_of(learner)
    train(learner, data, 2)
    frozen = state_of(learner)
    assert torch.equal(start["layers.0.weight"], frozen["layers.0.weight"])
    assert not torch.equal(start["layers.3.weight"], frozen["layers.3.weight"])
    rates = [group["lr"] for group in learner.optimizers["optimizer"].param_groups]
    assert rates == pytest.approx([0.05, 0.05, 0.5, 0.5])
    assert learner.learning_rate == pytest.approx(0.5)
    train(learner, data, 1)
    assert not torch.equal(frozen["layers.0.weight"], state_of(learner)["layers.0.weight"])


def test_a_cold_trial_of_the_same_study_takes_over_a_warm_ones_state(
    data: DataSet, warm_setup: Callable[..., StudySetup]
) -> None:
    """As a population does: the optimiser's groups are the same, the rates its own."""
    setup = warm_setup(learning_rate_factor=0.1)
    warm, cold = learner_of(setup, data, (0, 0)), learner_of(setup, data, None)
    train(warm, data, 1)
    cold.load_state_dict(warm.state_dict())
    assert all(
        torch.equal(tensor, warm.model.state_dict()[name])
        for name, tensor in cold.model.state_dict().items()
    )
    assert {group["lr"] for group in cold.optimizers["optimizer"].param_groups} == {
        cold.learning_rate
    }


def test_a_fold_tells_in_its_result_what_it_began_with(
    make_run: MakeRun, warm_setup: Callable[..., StudySetup]
) -> None:
    setup = warm_setup(epochs=1)
    results = []
    for fold, warm in ((0, True), (1, False)):
        job = FoldJob(trial="0000", config=CONFIG, fold=fold, until_epoch=1, warm=warm)
        result = make_run(job, setup).advance(job)
        assert result is not None
        results.append(type(result).from_dict(result.to_dict()))
    assert str(results[0].initial) == "4 of 4 tensors of digits/0000, fold 0"
    assert results[1].initial is None

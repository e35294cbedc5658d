import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rayfold.data import DataSet
from rayfold.errors import ModelError
from rayfold.library import model_source
from rayfold.results import Config
from rayfold.training import Batch, SingleProcess, StudySetup
from rayfold.training.checkpoint import ShrinkAndPerturb
from rayfold.training.learners import Supervised
from rayfold.training.strategies import AllReduce

LINEAR: Config = {"model.depth": 0, "optimizer.name": "sgd", "optimizer.learning_rate": 0.5}

MakeSetup = Callable[..., StudySetup]
MakeLearner = Callable[..., Supervised]


@pytest.fixture
def make_learner(data: DataSet, make_setup: MakeSetup) -> MakeLearner:
    def make(
        data: DataSet = data, epochs: int = 2, steps_per_epoch: int = 2, **config: Any
    ) -> Supervised:
        torch.manual_seed(0)
        return Supervised(
            {**LINEAR, **config},
            setup=make_setup(data=data, epochs=epochs),
            data=data,
            strategy=AllReduce(SingleProcess()),
            steps_per_epoch=steps_per_epoch,
        )

    return make


def batch_of(data: DataSet, rows: slice, **changes: Any) -> Batch:
    features = tuple(torch.from_numpy(array[rows]) for array in data.features)
    labels = torch.from_numpy(data.labels[rows])
    return Batch(features, labels, **{"total_rows": len(labels), **changes})


def step(learner: Supervised, batch: Batch) -> None:
    learner.train_batch(batch)
    learner.end_batch()


def validated(learner: Supervised, batch: Batch) -> tuple[Tensor, Tensor]:
    """Predictions, and the loss of each row."""
    with torch.no_grad():
        predictions, measured = learner.validate_batch(batch)
    return predictions, measured["loss"]


def linear_weights(learner: Supervised) -> torch.Tensor:
    return learner.model.state_dict()["layers.0.weight"].clone()


def test_a_step_goes_down_the_mean_loss_of_the_batch(
    regression: Callable[[int], DataSet], make_learner: MakeLearner
) -> None:
    """The gradient of the mean of (x w + b - y)^2 is the mean of 2 (x w + b - y) x."""
    data = regression(1)
    learner = make_learner(data)
    before, bias = linear_weights(learner), learner.model.state_dict()["layers.0.bias"].clone()
    batch = batch_of(data, slice(0, 5))
    x, y = batch.features[0], batch.labels
    errors = x @ before.T + bias - y
    total = learner.train_batch(batch)
    assert total.item() == pytest.approx((errors**2).sum().item(), rel=1e-5)
    expected = before - 0.5 * (2 * errors * x).mean(0, keepdim=True)
    torch.testing.assert_close(linear_weights(learner), expected)


def test_a_part_counts_by_the_rows_of_the_whole_batch(
    regression: Callable[[int], DataSet], make_learner: MakeLearner
) -> None:
    data = regression(1)
    steps = []
    for total_rows in (5, 10):
        learner = make_learner(data)
        before = linear_weights(learner)
        step(learner, batch_of(data, slice(0, 5), total_rows=total_rows))
        steps.append(linear_weights(learner) - before)
    torch.testing.assert_close(steps[0], 2 * steps[1])


def test_a_borrowed_row_changes_nothing_and_is_not_counted(
    data: DataSet, make_learner: MakeLearner
) -> None:
    learner = make_learner()
    before = linear_weights(learner)
    batch = batch_of(data, slice(0, 1), weight=0.0)
    assert learner.train_batch(batch).item() == 0
    assert batch.num_own_rows == 0
    assert torch.equal(linear_weights(learner), before)


def test_classes_are_predicted_as_probabilities(data: DataSet, make_learner: MakeLearner) -> None:
    """A row's loss is -log of its true class's probability."""
    learner = make_learner()
    batch = batch_of(data, slice(0, 4))
    probabilities, losses = validated(learner, batch)
    assert probabilities.sum(1).tolist() == pytest.approx([1.0] * 4)
    true = probabilities[range(4), batch.labels]
    assert losses.tolist() == pytest.approx((-true.log()).tolist(), rel=1e-5)


def test_values_are_predicted_as_they_are(
    regression: Callable[[int], DataSet], make_learner: MakeLearner
) -> None:
    data = regression(2)
    learner = make_learner(data)
    batch = batch_of(data, slice(0, 4))
    values, losses = validated(learner, batch)
    assert torch.equal(values, learner.model(*batch.features))
    assert losses.tolist() == pytest.approx(((values - batch.labels) ** 2).mean(1).tolist())


def test_a_searched_loss_shapes_the_training_and_not_the_validation(
    data: DataSet, make_learner: MakeLearner
) -> None:
    plain, smooth = make_learner(), make_learner(**{"loss.label_smoothing": 0.5})
    batch = batch_of(data, slice(0, 8))
    assert torch.equal(validated(plain, batch)[1], validated(smooth, batch)[1])
    assert plain.train_batch(batch) != smooth.train_batch(batch)


def test_every_batch_is_a_step_of_the_schedule(data: DataSet, make_learner: MakeLearner) -> None:
    """Two epochs of two batches: the cosine of 0, 45, 90, 135 and 180 degrees."""
    learner = make_learner(**{"schedule.name": "cosine", "optimizer.learning_rate": 1.0})
    rates = [learner.learning_rate]
    for _ in range(4):
        step(learner, batch_of(data, slice(0, 8)))
        rates.append(learner.learning_rate)
    half = 0.5**0.5
    assert rates == pytest.approx([1, (1 + half) / 2, 0.5, (1 - half) / 2, 0])


def test_a_learner_goes_on_exactly_from_another_ones_state(
    data: DataSet, make_learner: MakeLearner
) -> None:
    config = {"optimizer.name": "adamw", "schedule.name": "cosine"}
    first, second = make_learner(**config), make_learner(**config)
    step(first, batch_of(data, slice(0, 8)))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for learner in (first, second):
        step(learner, batch_of(data, slice(8, 16)))
    assert torch.equal(linear_weights(first), linear_weights(second))
    assert first.learning_rate == second.learning_rate


@pytest.mark.parametrize(
    ("name", "giver", "taker"),
    [
        ("sgd", {"learning_rate": 0.5, "momentum": 0.0}, {"learning_rate": 0.25, "momentum": 0.9}),
        ("adamw", {"learning_rate": 0.1, "eps": 1e-8}, {"learning_rate": 0.2, "eps": 1e-3}),
        ("rmsprop", {"momentum": 0.0, "alpha": 0.9}, {"momentum": 0.5, "alpha": 0.5}),
        ("adagrad", {"weight_decay": 0.0}, {"weight_decay": 0.5}),
    ],
)
def test_another_configurations_state_is_gone_on_with_by_the_own_values(
    name: str,
    giver: dict[str, float],
    taker: dict[str, float],
    data: DataSet,
    make_learner: MakeLearner,
) -> None:
    """Weights and moments are the giver's; learning rate and the like are the taker's."""

    def make(values: dict[str, float]) -> Supervised:
        config: dict[str, Any] = {f"optimizer.{key}": value for key, value in values.items()}
        return make_learner(**{"optimizer.name": name, **config})

    first, second = make(giver), make(taker)
    step(first, batch_of(data, slice(0, 8)))
    before = copy.deepcopy(first.state_dict())
    second.load_state_dict(copy.deepcopy(before))
    after = second.state_dict()
    assert torch.equal(linear_weights(second), linear_weights(first))
    for parameter, moments in before["optimizer"]["state"].items():
        for key, value in moments.items():
            assert value is None or torch.equal(after["optimizer"]["state"][parameter][key], value)
    [group] = after["optimizer"]["param_groups"]
    for key, number in taker.items():
        assert group["lr" if key == "learning_rate" else key] == number
    step(second, batch_of(data, slice(0, 8)))  # and nothing is missing


def test_the_next_step_is_by_the_own_rate(data: DataSet, make_learner: MakeLearner) -> None:
    """Plain gradient descent: a rate ten times smaller goes a tenth of the way."""
    rates = {"optimizer.learning_rate": 0.5}, {"optimizer.learning_rate": 0.05}
    giver, taker = (make_learner(**rate) for rate in rates)
    step(giver, batch_of(data, slice(0, 8)))
    start = linear_weights(giver)
    taker.load_state_dict(copy.deepcopy(giver.state_dict()))
    for learner in (giver, taker):
        step(learner, batch_of(data, slice(8, 16)))
    torch.testing.assert_close(
        10 * (linear_weights(taker) - start), linear_weights(giver) - start, rtol=1e-4, atol=1e-6
    )


def test_a_schedule_is_gone_on_with_at_the_same_epoch(
    data: DataSet, make_learner: MakeLearner
) -> None:
    """After 1 of 2 epochs a cosine is at a half: 2 steps of 4 are 4 of 8 with half the batch."""
    config = {"schedule.name": "cosine", "optimizer.learning_rate": 1.0}
    giver = make_learner(**config)
    taker = make_learner(steps_per_epoch=4, **{**config, "optimizer.learning_rate": 0.5})
    for _ in range(2):
        step(giver, batch_of(data, slice(0, 8)))
    taker.load_state_dict(copy.deepcopy(giver.state_dict()))
    assert (giver.learning_rate, taker.learning_rate) == pytest.approx((0.5, 0.25))
    assert taker.state_dict()["schedule"] == {"last_epoch": 4, "steps_per_epoch": 4}


def test_a_restart_shrinks_the_weights_and_forgets_the_moments(
    data: DataSet, make_learner: MakeLearner
) -> None:
    """0.5 of the old ones and 0.25 of the fresh ones; the schedule goes on where it was."""
    config = {"optimizer.name": "adamw", "schedule.name": "cosine"}
    old, new = make_learner(**config), make_learner(**config)
    step(old, batch_of(data, slice(0, 8)))
    expected = 0.5 * linear_weights(old) + 0.25 * linear_weights(new)
    restart = ShrinkAndPerturb(epoch=1, shrink=0.5, noise=0.25)
    new.load_state_dict(copy.deepcopy(old.state_dict()), restart=restart)
    torch.testing.assert_close(linear_weights(new), expected)
    assert new.state_dict()["optimizer"]["state"] == {}
    assert new.learning_rate == old.learning_rate


def test_dropout_is_on_in_training_only(data: DataSet, make_learner: MakeLearner) -> None:
    learner = make_learner(**{"model.depth": 1, "model.dropout": 0.5})
    batch = batch_of(data, slice(0, 8))
    learner.model.eval()
    assert torch.equal(validated(learner, batch)[0], validated(learner, batch)[0])
    learner.model.train()
    assert not torch.equal(validated(learner, batch)[0], validated(learner, batch)[0])


@pytest.mark.parametrize(
    ("returned", "got"),
    [
        (torch.zeros(5, 7), r"got shape \(5, 7\)"),
        (torch.zeros(5), r"got shape \(5,\)"),
        ((torch.zeros(5, 3), None), "got a tuple"),
    ],
)
def test_a_model_that_returns_something_else_is_told_so(
    regression: Callable[[int], DataSet],
    make_learner: MakeLearner,
    monkeypatch: pytest.MonkeyPatch,
    returned: object,
    got: str,
) -> None:
    data = regression(3)
    learner = make_learner(data)
    monkeypatch.setattr(type(learner.model), "forward", lambda *_: returned)
    batch = batch_of(data, slice(0, 5))
    expected = rf"MLP\.forward must return a tensor of shape \(5, 3\), \(rows, values.*{got}"
    for use in (learner.train_batch, learner.validate_batch):
        with pytest.raises(ModelError, match=expected):
            use(batch)


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda outputs: outputs.long(), "got int64"),
        (lambda outputs: outputs.to(torch.complex64), "got complex64"),
        (lambda outputs: outputs.to_sparse(), "got a tensor that is sparse_coo"),
        (lambda outputs: outputs.to("meta"), "got a tensor that is without values"),
        (lambda outputs: outputs.detach(), "got outputs without a gradient"),
    ],
)
def test_outputs_that_no_loss_can_take_are_told(
    data: DataSet,
    make_learner: MakeLearner,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[torch.Tensor], torch.Tensor],
    got: str,
) -> None:
    learner = make_learner()
    plain = type(learner.model).forward
    monkeypatch.setattr(type(learner.model), "forward", lambda *given: change(plain(*given)))
    expected = f"MLP.forward must return floats that depend on its parameters, {got}"
    with pytest.raises(ModelError, match=expected):
        learner.train_batch(batch_of(data, slice(0, 5)))


@pytest.mark.parametrize("fault", ["sparse", "meta"])
def test_weights_that_cannot_be_trained_are_told(
    data: DataSet, make_setup: MakeSetup, fault: str
) -> None:
    class Net(torch.nn.Module):
        def __init__(self, *, num_outputs: int) -> None:
            super().__init__()
            device = "meta" if fault == "meta" else "cpu"
            self.table = torch.nn.Embedding(2, num_outputs, sparse=True, device=device)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return self.table((features[:, 0] > 0).long())

    expected = {
        "sparse": "Net gives sparse gradients, which AdamW does not take; leave sparse=True out",
        "meta": "Net: 'table.weight' is on the device meta and has no values",
    }
    with pytest.raises(ModelError, match=expected[fault]):
        Supervised(
            {"optimizer.name": "adamw"},
            setup=replace(make_setup(), model=model_source(Net)),
            data=data,
            strategy=AllReduce(SingleProcess()),
            steps_per_epoch=1,
        ).train_batch(batch_of(data, slice(0, 5)))

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rayfold.data import DataSet
from rayfold.errors import ModelError
from rayfold.training import Batch, Learner, SingleProcess, StudySetup

LINEAR = {"model.depth": 0, "optimizer.name": "sgd", "optimizer.learning_rate": 0.5}

MakeSetup = Callable[..., StudySetup]
MakeLearner = Callable[..., Learner]


@pytest.fixture
def make_learner(data: DataSet, make_setup: MakeSetup) -> MakeLearner:
    def make(data: DataSet = data, epochs: int = 2, **config: Any) -> Learner:
        torch.manual_seed(0)
        return Learner(
            {**LINEAR, **config},
            setup=make_setup(data=data, epochs=epochs),
            data=data,
            strategy=SingleProcess(),
            steps_per_epoch=2,
        )

    return make


def batch_of(data: DataSet, rows: slice, **changes: Any) -> Batch:
    features = tuple(torch.from_numpy(array[rows]) for array in data.features)
    labels = torch.from_numpy(data.labels[rows])
    return Batch(features, labels, **{"total_rows": len(labels), **changes})


def linear_weights(learner: Learner) -> torch.Tensor:
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
        learner.train_batch(batch_of(data, slice(0, 5), total_rows=total_rows))
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
    """The loss is the sum of -log of the true classes' probabilities."""
    learner = make_learner()
    batch = batch_of(data, slice(0, 4))
    probabilities, loss = learner.predict_batch(batch)
    assert probabilities.sum(1).tolist() == pytest.approx([1.0] * 4)
    true = probabilities[range(4), batch.labels]
    assert loss.item() == pytest.approx(-true.log().sum().item(), rel=1e-5)


def test_values_are_predicted_as_they_are(
    regression: Callable[[int], DataSet], make_learner: MakeLearner
) -> None:
    data = regression(2)
    learner = make_learner(data)
    batch = batch_of(data, slice(0, 4))
    values, loss = learner.predict_batch(batch)
    assert torch.equal(values, learner.model(*batch.features))
    assert loss.item() == pytest.approx(((values - batch.labels) ** 2).mean(1).sum().item())


def test_a_searched_loss_shapes_the_training_and_not_the_validation(
    data: DataSet, make_learner: MakeLearner
) -> None:
    plain, smooth = make_learner(), make_learner(**{"loss.label_smoothing": 0.5})
    batch = batch_of(data, slice(0, 8))
    assert plain.predict_batch(batch)[1] == smooth.predict_batch(batch)[1]
    assert plain.train_batch(batch) != smooth.train_batch(batch)


def test_every_batch_is_a_step_of_the_schedule(data: DataSet, make_learner: MakeLearner) -> None:
    """Two epochs of two batches: the cosine of 0, 45, 90, 135 and 180 degrees."""
    learner = make_learner(**{"schedule.name": "cosine", "optimizer.learning_rate": 1.0})
    rates = [learner.learning_rate]
    for _ in range(4):
        learner.train_batch(batch_of(data, slice(0, 8)))
        rates.append(learner.learning_rate)
    half = 0.5**0.5
    assert rates == pytest.approx([1, (1 + half) / 2, 0.5, (1 - half) / 2, 0])


def test_a_learner_goes_on_exactly_from_another_ones_state(
    data: DataSet, make_learner: MakeLearner
) -> None:
    config = {"optimizer.name": "adamw", "schedule.name": "cosine"}
    first, second = make_learner(**config), make_learner(**config)
    first.train_batch(batch_of(data, slice(0, 8)))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for learner in (first, second):
        learner.train_batch(batch_of(data, slice(8, 16)))
    assert torch.equal(linear_weights(first), linear_weights(second))
    assert first.learning_rate == second.learning_rate


def test_dropout_is_on_in_training_only(data: DataSet, make_learner: MakeLearner) -> None:
    learner = make_learner(**{"model.depth": 1, "model.dropout": 0.5})
    batch = batch_of(data, slice(0, 8))
    learner.train(False)
    assert torch.equal(learner.predict_batch(batch)[0], learner.predict_batch(batch)[0])
    learner.train(True)
    assert not torch.equal(learner.predict_batch(batch)[0], learner.predict_batch(batch)[0])


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
    for use in (learner.train_batch, learner.predict_batch):
        with pytest.raises(ModelError, match=expected):
            use(batch)

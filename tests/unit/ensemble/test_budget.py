from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rayfold.ensemble import Best, Greedy, Input, OutOfFold, Selection, Signature
from rayfold.ensemble.budget import Budget, Cost, Costs, WithinBudget, _least_worth, measure
from rayfold.ensemble.evaluation.nested_validation import evaluate
from rayfold.ensemble.predictor import EnsembleModule
from rayfold.errors import EnsembleError, RecipeError
from rayfold.tasks import Regression

SIGNATURE = Signature(
    task=Regression(),
    inputs=(Input(name="features", shape=(2,), dtype="float32"),),
    num_outputs=1,
    classes=None,
)
SIZES = (100, 10, 20, 30)
"""Parameters of the candidates' models; the largest one is best, then the next one, and so on."""


class Clock:
    """Stands in for the machine's clock, which runs on while other processes work."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Sized(nn.Module):
    """Takes its seconds on the clock for each prediction."""

    def __init__(self, size: int, seconds: float = 0.0) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(size))
        self.seconds = seconds

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        Clock.now += self.seconds
        return features.sum(1, keepdim=True)


OUT_OF_FOLD = OutOfFold(
    task=Regression(),
    predictions=np.array([[[0.5], [0.5]], [[1.0], [1.0]], [[2.0], [2.0]], [[3.0], [3.0]]]).astype(
        np.float32
    ),
    present=np.ones((4, 2), bool),
    complete=np.ones(4, bool),
    target=np.zeros((2, 1), np.float32),
    folds=np.arange(2),
)


def make(selection: Selection, seconds: float = 0.0) -> EnsembleModule:
    models = [[Sized(SIZES[index], seconds)] for index in selection.candidates]
    return EnsembleModule(models, selection.combination, SIGNATURE)


def fitted(budget: Budget) -> list[int]:
    builder = WithinBudget(Best(3), budget, Costs(make, SIGNATURE))
    return sorted(builder.build(OUT_OF_FOLD).candidates)


def test_without_limits_the_builder_decides() -> None:
    assert fitted(Budget()) == [0, 1, 2]


def test_members_are_as_many_as_allowed() -> None:
    assert len(fitted(Budget(max_members=2))) == 2
    assert len(fitted(Budget(max_members=1))) == 1


def test_one_that_is_too_large_alone_makes_room_for_others() -> None:
    assert fitted(Budget(max_parameters=60)) == [1, 2, 3]


def test_of_several_that_are_too_large_together_the_one_that_gives_least_for_its_size_goes() -> (
    None
):
    assert fitted(Budget(max_parameters=40)) == [1, 2]


def test_of_several_that_count_alike_the_worst_goes_however_small_it_is() -> None:
    best_last = replace(OUT_OF_FOLD, predictions=OUT_OF_FOLD.predictions[[0, 3, 2, 1]])
    builder = WithinBudget(Best(3), Budget(max_parameters=40), Costs(make, SIGNATURE))
    assert builder.build(best_last).candidates == (3,)


def test_of_equals_among_others_the_worst_goes() -> None:
    """One counts for most, and three alike, of which the first one listed is not the worst."""
    weights = np.array([0.7, 0.1, 0.1, 0.1])
    shares = Selection.of_weights(weights)
    costs = {index: Cost(members=1, parameters=10, latency={}) for index in range(4)}
    assert _least_worth(shares, costs, OUT_OF_FOLD) == 3
    turned = replace(OUT_OF_FOLD, predictions=OUT_OF_FOLD.predictions[[0, 3, 2, 1]])
    assert _least_worth(shares, costs, turned) == 1


def test_few_members_are_weighted_by_what_was_chosen_and_not_by_the_best_alone() -> None:
    """Of 30 alike candidates two may stay, of errors that cancel out: they count about alike.

    Of values there is a prior on request only.
    """
    generator = np.random.default_rng(0)
    out_of_fold = OutOfFold(
        task=Regression(),
        predictions=generator.normal(size=(30, 200, 1)).astype(np.float32),
        present=np.ones((30, 200), bool),
        complete=np.ones(30, bool),
        target=np.zeros((200, 1), np.float32),
        folds=np.arange(200) % 2,
    )

    def make(selection: Selection) -> EnsembleModule:
        models = [[Sized(10)] for _ in selection.candidates]
        return EnsembleModule(models, selection.combination, SIGNATURE)

    costs = Costs(make, SIGNATURE, timed=False)
    selection = WithinBudget(Greedy(prior_rows=1000), Budget(max_members=2), costs).build(
        out_of_fold
    )
    assert selection.combination.shares == pytest.approx((0.5, 0.5), abs=0.1)


def test_predictions_are_timed_only_where_that_is_wanted() -> None:
    costs = Costs(make, SIGNATURE, timed=False)
    assert costs.of(Best(2).build(OUT_OF_FOLD)) == Cost(members=2, parameters=110, latency={})


def test_a_builder_is_evaluated_by_the_ensembles_that_fit() -> None:
    """The best candidate, with a squared error of 0.25, is too large; the next one has 1."""
    builder = WithinBudget(Best(1), Budget(max_parameters=15), Costs(make, SIGNATURE))
    assert evaluate(Best(1), OUT_OF_FOLD).loss == pytest.approx(0.25)
    assert evaluate(builder, OUT_OF_FOLD).loss == pytest.approx(1.0)


def test_latency_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model takes 2 ms: three of them take longer than 5 ms, two do not."""
    monkeypatch.setattr("rayfold.ensemble.budget.time", Clock())
    budget = Budget(max_latency={1: 0.005})
    costs = Costs(lambda chosen: make(chosen, 0.002), SIGNATURE)
    selection = WithinBudget(Best(3), budget, costs).build(OUT_OF_FOLD)
    cost = measure(make(selection, 0.002), SIGNATURE)
    assert selection.candidates == (0, 1)
    assert cost.latency == pytest.approx({1: 0.004, 256: 0.004})


def test_nothing_that_fits_is_told_with_what_was_measured() -> None:
    with pytest.raises(
        EnsembleError, match="smallest of those tried has 10 parameters, max_parameters=9; raise"
    ):
        WithinBudget(Greedy(3), Budget(max_parameters=9), Costs(make, SIGNATURE)).build(
            OUT_OF_FOLD
        )


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        ({"max_members": 0}, r"^budget\.max_members must be at least 1, got 0"),
        ({"max_parameters": 1.5}, r"^budget\.max_parameters must be a whole number, got 1\.5"),
        ({"max_latency": 0.1}, r"^budget\.max_latency must be a mapping, got 0\.1"),
        (
            {"max_latency": {"a": 1.0}},
            r"^budget\.max_latency must have keys that are each a whole number, got 'a'\.$",
        ),
        ({"max_latency": {2: 0.1}}, "^budget must have max_latency of 1 or 256 rows, got 2"),
        ({"max_latency": {1: 0}}, r"^budget\.max_latency\.1 must be above 0, got 0"),
    ],
)
def test_limits_out_of_range_are_told(limits: dict[str, object], match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        Budget(**limits)  # type: ignore[arg-type]

from typing import Any

import pytest
import torch
from torch.nn import Parameter

from rayfold.errors import RecipeError
from rayfold.results import Value
from rayfold.space import Choice, Float, Int, SearchSpace
from rayfold.training.optimizers import (
    OPTIMIZERS,
    build_optimizer,
    check_optimizer,
    optimizer_parameters,
)

NOTHING = SearchSpace({"batch_size": Int(1, 2)})


def descend(config: dict[str, bool | int | float | str], steps: int = 2) -> list[float]:
    """Start at 1 with a gradient of 1 throughout; return where each step ends."""
    weight = Parameter(torch.ones(()))
    optimizer = build_optimizer([weight], config)
    places = []
    for _ in range(steps):
        weight.grad = torch.ones(())
        optimizer.step()
        places.append(weight.item())
    return places


def test_sgd_takes_even_steps() -> None:
    assert descend({"name": "sgd", "learning_rate": 0.25}) == [0.75, 0.5]


def test_momentum_adds_nine_tenths_of_the_last_step() -> None:
    assert descend({"name": "momentum", "learning_rate": 0.1}) == pytest.approx([0.9, 0.71])


def test_a_given_momentum_replaces_the_preset() -> None:
    places = descend({"name": "momentum", "learning_rate": 0.1, "momentum": 0.5})
    assert places == pytest.approx([0.9, 0.75])


def test_nesterov_looks_ahead() -> None:
    """Steps are g + 0.9 v with v = 1, then 1.9: 1.9 and 2.71."""
    places = descend({"name": "nesterov", "learning_rate": 0.1})
    assert places == pytest.approx([0.81, 0.539])


def test_adagrad_divides_by_the_root_of_the_sum_of_squares() -> None:
    places = descend({"name": "adagrad", "learning_rate": 0.1})
    assert places == pytest.approx([0.9, 0.9 - 0.1 / 2**0.5])


def test_rmsprop_divides_by_the_root_of_the_mean_square() -> None:
    """The mean square is 0.01 after one step and 0.0199 after two."""
    places = descend({"name": "rmsprop", "learning_rate": 0.01})
    assert places == pytest.approx([0.9, 0.9 - 0.01 / 0.0199**0.5])


def test_adam_steps_by_the_learning_rate() -> None:
    assert descend({"name": "adam", "learning_rate": 0.1}) == pytest.approx([0.9, 0.8])


def test_adamw_decays_the_weight_apart_from_the_gradient() -> None:
    places = descend({"name": "adamw", "learning_rate": 0.1, "weight_decay": 0.5}, steps=1)
    assert places == pytest.approx([1 * (1 - 0.1 * 0.5) - 0.1])


def test_without_a_name_it_is_adamw_with_a_thousandth() -> None:
    optimizer = build_optimizer([Parameter(torch.ones(()))], {})
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.param_groups[0]["lr"] == 0.001


@pytest.mark.parametrize("name", OPTIMIZERS.names)
def test_the_learning_rate_comes_first_and_nothing_but_scalars_is_taken(name: str) -> None:
    first, *others = optimizer_parameters(OPTIMIZERS.find(name))
    assert first == "learning_rate"
    assert "weight_decay" in others
    assert not {"params", "lr", "betas", "foreach", "fused", "maximize"} & set(others)


def test_an_unknown_optimizer_gets_a_hint() -> None:
    with pytest.raises(RecipeError, match=r"optimizer.name 'adamv' is unknown \(did you mean 'ad"):
        check_optimizer(NOTHING, {"optimizer.name": "adamv"})


def test_an_unknown_optimizer_among_the_choices_is_found() -> None:
    space = SearchSpace({"optimizer.name": Choice("sgd", "lion")})
    with pytest.raises(RecipeError, match=r"optimizer.name 'lion' is unknown; choose from sgd"):
        check_optimizer(space, {})


def test_the_name_cannot_be_a_number() -> None:
    with pytest.raises(RecipeError, match=r"optimizer.name must be a choice of names"):
        check_optimizer(SearchSpace({"optimizer.name": Int(0, 1)}), {})


def test_a_fixed_parameter_must_belong_to_the_optimizer() -> None:
    check_optimizer(NOTHING, {"optimizer.name": "sgd", "optimizer.momentum": 0.9})
    with pytest.raises(RecipeError, match=r"optimizer.momentum does not belong to optimizer 'ada"):
        check_optimizer(NOTHING, {"optimizer.name": "adagrad", "optimizer.momentum": 0.9})


def test_a_misspelt_parameter_gets_a_hint() -> None:
    with pytest.raises(RecipeError, match=r"optimizer.learning_rat .* mean 'learning_rate'\?"):
        check_optimizer(NOTHING, {"optimizer.learning_rat": 0.1})


def test_a_parameter_that_some_choices_lack_needs_a_condition() -> None:
    name = Choice("sgd", "adamw")
    with pytest.raises(
        RecipeError, match=r"optimizer.momentum .* 'adamw'.* search it with a condition"
    ):
        check_optimizer(
            SearchSpace({"optimizer.name": name, "optimizer.momentum": Float(0, 1)}), {}
        )


def test_a_condition_keeps_a_parameter_from_the_others() -> None:
    momentum = Float(0, 1, when={"optimizer.name": ["sgd", "nesterov"]})
    space = SearchSpace(
        {
            "optimizer.name": Choice("sgd", "nesterov", "adamw"),
            "optimizer.momentum": momentum,
            "optimizer.amsgrad": Choice(True, False, when={"optimizer.name": "adamw"}),
        }
    )
    check_optimizer(space, {})


def test_a_condition_that_lets_a_wrong_optimizer_through_is_refused() -> None:
    momentum = Float(0, 1, when={"optimizer.name": ["sgd", "adamw"]})
    space = SearchSpace({"optimizer.name": Choice("sgd", "adamw"), "optimizer.momentum": momentum})
    with pytest.raises(RecipeError, match=r"optimizer.momentum does not belong to optimizer 'ada"):
        check_optimizer(space, {})


def test_a_condition_on_a_conditional_parameter_counts_too() -> None:
    space = SearchSpace(
        {
            "optimizer.name": Choice("rmsprop", "adamw"),
            "optimizer.centered": Choice(True, False, when={"optimizer.name": "rmsprop"}),
            "optimizer.momentum": Int(0, 1, when={"optimizer.weight_decay": 1}),
            "optimizer.weight_decay": Int(0, 1, when={"optimizer.name": "rmsprop"}),
        }
    )
    check_optimizer(space, {})


def test_a_condition_on_something_else_does_not_keep_optimizers_apart() -> None:
    space = SearchSpace(
        {
            "optimizer.name": Choice("sgd", "adamw"),
            "model.depth": Int(1, 2),
            "optimizer.momentum": Float(0, 1, when={"model.depth": 2}),
        }
    )
    with pytest.raises(RecipeError, match=r"optimizer.momentum does not belong to optimizer 'ada"):
        check_optimizer(space, {})


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ("optimizer.learning_rate", "1e-3", "must be a number from 0 to 1000000000, not '1e-3'"),
        ("optimizer.learning_rate", -1, "must be a number from 0 to 1000000000, not -1"),
        ("optimizer.learning_rate", 1e300, "must be a number from 0 to 1000000000, not 1e"),
        ("optimizer.weight_decay", True, "must be a number from 0 to 1000000000, not True"),
        ("optimizer.amsgrad", 1, "must be true or false, not 1"),
    ],
)
def test_a_value_of_another_kind_is_refused(parameter: str, value: Value, message: str) -> None:
    with pytest.raises(RecipeError, match=f"^{parameter} {message}"):
        check_optimizer(NOTHING, {parameter: value})
    with pytest.raises(RecipeError, match=f"^{parameter} {message}"):
        check_optimizer(SearchSpace({parameter: Choice(value)}), {})


def test_a_range_below_zero_is_refused() -> None:
    space = SearchSpace({"optimizer.learning_rate": Float(-0.1, 0.1)})
    with pytest.raises(RecipeError, match=r"learning_rate must be .* from 0 to .*, not -0\.1"):
        check_optimizer(space, {})


class Rateless(torch.optim.SGD):
    def __init__(self, params: Any) -> None:
        super().__init__(params)


class Needing(torch.optim.SGD):
    def __init__(self, params: Any, lr: float, rho: float, nesterov: bool = False) -> None:
        super().__init__(params, lr, momentum=rho)


def test_an_optimizer_by_reference_takes_what_its_constructor_takes() -> None:
    fixed: dict[str, Value] = {"optimizer.name": "torch.optim:NAdam"}
    check_optimizer(NOTHING, {**fixed, "optimizer.momentum_decay": 0.004})
    with pytest.raises(RecipeError, match=r"optimizer\.momentum does not belong .*momentum_decay"):
        check_optimizer(NOTHING, {**fixed, "optimizer.momentum": 0.9})
    optimizer = build_optimizer([Parameter(torch.ones(()))], {"name": "torch.optim:NAdam"})
    assert type(optimizer) is torch.optim.NAdam


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (Rateless, r"Rateless' takes no lr; let its constructor take lr, the learning rate"),
        (Needing, r"Needing' needs rho; search or fix optimizer\.rho"),
    ],
)
def test_an_optimizer_that_no_configuration_can_make_is_refused(made: type, message: str) -> None:
    source = OPTIMIZERS.source(made)
    with pytest.raises(RecipeError, match=message):
        check_optimizer(NOTHING, {"optimizer.name": source.reference}, {source.reference: source})

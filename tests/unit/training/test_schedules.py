import pytest
import torch
from torch.nn import Parameter

from rayfold.errors import RecipeError
from rayfold.results import Value
from rayfold.space import Choice, Float, Int, SearchSpace
from rayfold.training.schedules import build_schedule, check_schedule

NOTHING = SearchSpace({"batch_size": Int(1, 2)})


def learning_rates(epochs: int, steps_per_epoch: int, **config: Value) -> list[float]:
    """Return the learning rate of every step, and the one that would follow; it begins at 1."""
    optimizer = torch.optim.SGD([Parameter(torch.ones(()))], lr=1.0)
    schedule = build_schedule(optimizer, config, epochs=epochs, steps_per_epoch=steps_per_epoch)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(epochs * steps_per_epoch):
        optimizer.step()
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def test_without_a_name_the_learning_rate_stays() -> None:
    assert learning_rates(2, 2) == [1, 1, 1, 1, 1]


def test_step_multiplies_after_so_many_epochs() -> None:
    rates = learning_rates(3, 2, name="step", step_epochs=1, gamma=0.5)
    assert rates == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_step_by_default_waits_ten_epochs_for_a_tenth() -> None:
    rates = learning_rates(11, 1, name="step")
    assert rates == pytest.approx([*[1] * 10, 0.1, 0.1])


def test_cosine_falls_from_one_to_nothing() -> None:
    """cos of 0, 60, 120 and 180 degrees is 1, 1/2, -1/2 and -1."""
    assert learning_rates(3, 1, name="cosine") == pytest.approx([1, 0.75, 0.25, 0])


def test_cosine_ends_at_its_final_fraction() -> None:
    rates = learning_rates(1, 2, name="cosine", final_fraction=0.2)
    assert rates == pytest.approx([1, 0.6, 0.2])


def test_a_warm_up_rises_in_even_steps() -> None:
    rates = learning_rates(3, 2, warmup_epochs=1.5)
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1])


def test_cosine_begins_after_the_warm_up() -> None:
    """One epoch of two steps warms up; the four steps that remain fall by the cosine."""
    rates = learning_rates(3, 2, name="cosine", warmup_epochs=1)
    half = 0.5**0.5
    assert rates == pytest.approx([1 / 3, 2 / 3, 1, (1 + half) / 2, 0.5, (1 - half) / 2, 0])


def test_an_unknown_schedule_gets_a_hint() -> None:
    with pytest.raises(RecipeError, match=r"schedule.name 'cosin' is unknown.*mean 'cosine'"):
        check_schedule(NOTHING, {"schedule.name": "cosin"})


def test_an_unknown_schedule_among_the_choices_is_found() -> None:
    space = SearchSpace({"schedule.name": Choice("constant", "linear")})
    with pytest.raises(RecipeError, match=r"schedule.name 'linear' is unknown; choose from const"):
        check_schedule(space, {})


def test_the_name_cannot_be_a_number() -> None:
    with pytest.raises(RecipeError, match=r"schedule.name must be a choice of names"):
        check_schedule(SearchSpace({"schedule.name": Int(0, 1)}), {})


def test_parameters_of_any_possible_schedule_are_taken() -> None:
    space = SearchSpace(
        {
            "schedule.name": Choice("step", "cosine"),
            "schedule.gamma": Float(0.1, 0.9, when={"schedule.name": "step"}),
            "schedule.warmup_epochs": Float(0, 2),
        }
    )
    check_schedule(space, {"schedule.final_fraction": 0.1})


def test_a_parameter_of_no_possible_schedule_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"schedule.gamma does not belong to schedule cosine"):
        check_schedule(NOTHING, {"schedule.name": "cosine", "schedule.gamma": 0.5})


def test_a_misspelt_parameter_gets_a_hint() -> None:
    with pytest.raises(RecipeError, match=r"schedule.warmup .*did you mean 'warmup_epochs'"):
        check_schedule(NOTHING, {"schedule.warmup": 1})


@pytest.mark.parametrize("value", [1e300, -1, True, "2", 10**400, float("nan")])
@pytest.mark.parametrize("name", ["warmup_epochs", "step_epochs", "gamma"])
def test_a_value_out_of_range_is_refused(name: str, value: Value) -> None:
    with pytest.raises(RecipeError, match=rf"^schedule.{name} must be a number .* 10{{9}}, not"):
        check_schedule(NOTHING, {"schedule.name": "step", f"schedule.{name}": value})


def test_no_step_takes_0_epochs_though_a_warm_up_may() -> None:
    check_schedule(NOTHING, {"schedule.warmup_epochs": 0})
    with pytest.raises(RecipeError, match=r"^schedule.step_epochs must be a number above 0, at"):
        check_schedule(NOTHING, {"schedule.name": "step", "schedule.step_epochs": 0})

import pytest
from torch import nn

from rayfold.errors import ModelError, RecipeError
from rayfold.results import Config, Value
from rayfold.space import Choice, Domain, Float, Int, SearchSpace
from rayfold.tasks import TASKS
from rayfold.training.hyperparameters import check_hyperparameters, section
from rayfold.training.losses import check_loss


class Net(nn.Module):
    def __init__(self, *, num_outputs: int, width: int = 8) -> None:
        super().__init__()


def check(
    searched: dict[str, Domain] | None = None,
    fixed: dict[str, Value] | None = None,
    loss: str = "cross_entropy",
) -> None:
    space = SearchSpace(searched or {"model.width": Int(1, 8)})
    task = next(task for task in TASKS.values() if loss in task.losses())
    name, parameters = check_loss(loss, task)
    check_hyperparameters(
        space, fixed or {}, model_class=Net, loss=name, loss_parameters=parameters
    )


def test_a_section_is_what_stands_under_its_prefix() -> None:
    config: Config = {"model.width": 8, "optimizer.name": "sgd", "batch_size": 32, "modeling": 1}
    assert section(config, "model") == {"width": 8}
    assert section(config, "schedule") == {}


def test_all_that_the_parts_take_passes() -> None:
    check(
        {
            "model.width": Int(8, 64, log=True),
            "optimizer.name": Choice("sgd", "adamw"),
            "optimizer.momentum": Float(0, 0.99, when={"optimizer.name": "sgd"}),
            "batch_size": Choice(32, 64),
        },
        {
            "optimizer.learning_rate": 0.1,
            "schedule.name": "cosine",
            "loss.label_smoothing": 0.1,
        },
    )


def test_nothing_is_both_searched_and_fixed() -> None:
    with pytest.raises(RecipeError, match=r"^model.width is both searched and fixed; remove one"):
        check(fixed={"model.width": 8})


def test_a_misspelt_prefix_gets_a_hint() -> None:
    with pytest.raises(
        RecipeError,
        match=r"'optimiser.learning_rate' is unknown \(did you mean 'optimizer\.'\?\)",
    ):
        check({"optimiser.learning_rate": Float(0.1, 1)})


def test_a_misspelt_batch_size_gets_a_hint() -> None:
    with pytest.raises(RecipeError, match=r"'batchsize' is unknown \(did you mean 'batch_size'\?"):
        check(fixed={"batchsize": 32})


def test_a_name_without_a_prefix_is_told_the_prefixes() -> None:
    with pytest.raises(
        RecipeError,
        match=r"'width' is unknown; names are batch_size or begin with model\., optimizer\., ",
    ):
        check({"width": Int(1, 8)})


def test_batch_size_has_no_parameters_of_its_own() -> None:
    with pytest.raises(RecipeError, match=r"'batch_size.rows' is unknown"):
        check(fixed={"batch_size.rows": 32})


def test_a_hyperparameter_of_the_model_must_be_an_argument_of_it() -> None:
    with pytest.raises(ModelError, match=r"model.widht is no argument of Net \(did you mean 'wid"):
        check({"model.widht": Int(1, 8)})


def test_a_parameter_of_the_optimizer_is_checked() -> None:
    with pytest.raises(RecipeError, match=r"optimizer.momentum does not belong to optimizer 'ada"):
        check(fixed={"optimizer.momentum": 0.9})


def test_a_parameter_of_the_schedule_is_checked() -> None:
    with pytest.raises(RecipeError, match=r"schedule.gamma does not belong to schedule constant"):
        check(fixed={"schedule.gamma": 0.9})


def test_a_parameter_of_the_loss_must_be_one_that_it_takes() -> None:
    check(fixed={"loss.delta": 2.0}, loss="huber")
    with pytest.raises(RecipeError, match=r"loss.delta does not belong to loss 'mse', which take"):
        check(fixed={"loss.delta": 2.0}, loss="mse")
    with pytest.raises(RecipeError, match=r"loss.label_smooth.* \(did you mean 'label_smoothing'"):
        check(fixed={"loss.label_smooth": 0.1})


@pytest.mark.parametrize("name", ["reduction", "weight", "ignore_index"])
def test_what_the_training_sets_itself_cannot_be_given_to_the_loss(name: str) -> None:
    with pytest.raises(RecipeError, match=f"loss.{name} does not belong to loss 'cross_entropy'"):
        check(fixed={f"loss.{name}": 1})


@pytest.mark.parametrize("value", [0, -1, 32.0, True, "32"])
def test_a_fixed_batch_size_is_a_whole_number(value: Value) -> None:
    with pytest.raises(RecipeError, match=r"batch_size must be a whole number of at least 1, not"):
        check(fixed={"batch_size": value})


@pytest.mark.parametrize("domain", [Int(0, 4), Float(1, 4), Choice(16, 32.0), Choice("16", "32")])
def test_a_searched_batch_size_is_a_whole_number_throughout(domain: Domain) -> None:
    with pytest.raises(RecipeError, match=r"batch_size must be a whole number of at least 1, not"):
        check({"batch_size": domain})


def test_a_batch_size_without_sense_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"^batch_size must be at most 1000000000, not 10"):
        check(fixed={"batch_size": 10**21})

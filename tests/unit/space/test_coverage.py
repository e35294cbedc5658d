"""Few configurations that meet all ends of a space."""

from rayfold.space import Choice, Float, Int, SearchSpace
from rayfold.space.coverage import count_configurations, count_searched, end_configurations


def test_lower_ends_upper_ends_and_each_choice_once() -> None:
    space = SearchSpace(
        {
            "model.width": Int(4, 64),
            "model.kind": Choice("a", "b", "c", "d"),
            "model.bias": Choice(True, False, 1),
        }
    )
    assert end_configurations(space) == [
        {"model.width": 4, "model.kind": "a", "model.bias": True},
        {"model.width": 64, "model.kind": "d", "model.bias": 1},
        {"model.width": 4, "model.kind": "b", "model.bias": False},
        {"model.width": 4, "model.kind": "c", "model.bias": True},
    ]


def test_a_parameter_that_applies_nowhere_at_the_ends_gets_a_configuration() -> None:
    space = SearchSpace(
        {
            "model.layers": Int(1, 9),
            "model.skip": Choice(True, False, when={"model.layers": [5, 6]}),
            "model.gate": Float(0.0, 1.0, when={"model.skip": False}),
        }
    )
    assert end_configurations(space) == [
        {"model.layers": 1},
        {"model.layers": 9},
        {"model.layers": 5, "model.skip": True},
        {"model.layers": 5, "model.skip": False, "model.gate": 0.0},
        {"model.layers": 5, "model.skip": False, "model.gate": 1.0},
    ]


def test_a_space_of_many_choices_is_met_in_part() -> None:
    space = SearchSpace({"batch_size": Choice(*range(1, 100))})
    configs = end_configurations(space, limit=5)
    assert [config["batch_size"] for config in configs] == [1, 99, 2, 3, 4]


def test_configurations_of_a_finite_space_are_counted() -> None:
    """Three whole numbers, two choices, and a constant."""
    finite = {"model.width": Int(4, 6), "model.bias": Choice(True, False), "batch_size": Choice(8)}
    assert count_configurations(SearchSpace(finite)) == 3 * 2 * 1
    assert count_searched(SearchSpace(finite)) == 2
    conditional = Float(0.0, 1.0, when={"model.width": 4})
    space = SearchSpace({**finite, "model.dropout": conditional})
    assert count_configurations(space) is None
    assert count_searched(space) == 3

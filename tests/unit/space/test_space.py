import copy
import math
from typing import Any

import numpy as np
import pytest

from rayfold.errors import RecipeError, SpaceError
from rayfold.space import Choice, Float, Int, SearchSpace

SPACE = SearchSpace(
    {
        "optimizer.momentum": Float(0.0, 0.8, when={"optimizer.name": "sgd"}),
        "optimizer.name": Choice("sgd", "adamw"),
        "model.channels": Int(1, 7, log=True),
        "batch_size": Choice(32, 64, 128),
    }
)

NESTED = SearchSpace(
    {
        "c": Float(0.0, 1.0, when={"b": [2, 3]}),
        "b": Int(1, 3, when={"a": True}),
        "a": Choice(True, False),
        "d": Choice("x", "y", when={"a": True, "b": 1}),
    }
)


def test_a_space_is_an_ordered_mapping() -> None:
    names = ("optimizer.momentum", "optimizer.name", "model.channels", "batch_size")
    assert SPACE.names == tuple(SPACE) == tuple(SPACE.keys()) == names
    assert len(SPACE) == SPACE.dimension == 4
    assert SPACE["model.channels"] == Int(1, 7, log=True)
    assert "batch_size" in SPACE
    assert "momentum" not in SPACE
    assert list(SPACE.items())[1] == ("optimizer.name", Choice("sgd", "adamw"))


def test_spaces_are_equal_in_the_same_order_only() -> None:
    a, b = Float(0, 1), Int(1, 2)
    assert SearchSpace({"a": a, "b": b}) == SearchSpace({"a": a, "b": b})
    assert hash(SearchSpace({"a": a, "b": b})) == hash(SearchSpace({"a": a, "b": b}))
    assert SearchSpace({"a": a, "b": b}) != SearchSpace({"b": b, "a": a})
    assert SearchSpace({"a": a}) != {"a": a}


def test_a_space_keeps_what_it_was_made_with() -> None:
    domains = {"a": Float(0, 1)}
    space = SearchSpace(domains)
    domains["b"] = Float(0, 1)
    assert space.names == ("a",)


def test_spaces_can_be_copied() -> None:
    assert copy.deepcopy(NESTED) == NESTED


# Names


@pytest.mark.parametrize("name", ["a", "batch_size", "model.channels", "a1.b_2.c3"])
def test_names_are_dotted_identifiers(name: str) -> None:
    assert SearchSpace({name: Float(0, 1)}).names == (name,)


@pytest.mark.parametrize("name", ["", "A", "1a", "a.", ".a", "a..b", "a-b", "a b", "_a", "a\n", 1])
def test_other_names_are_refused(name: Any) -> None:
    with pytest.raises(SpaceError, match="names are lower-case identifiers joined by dots"):
        SearchSpace({name: Float(0, 1)})


@pytest.mark.parametrize("domains", [{}, None, [("a", Float(0, 1))]])
def test_a_space_needs_parameters(domains: Any) -> None:
    with pytest.raises(SpaceError, match="a search space maps one or more names to domains"):
        SearchSpace(domains)


def test_what_is_no_domain_is_refused_by_name() -> None:
    domains: Any = {"a": (0, 1)}
    with pytest.raises(SpaceError, match=r"^a: expected Float, Int, Choice or a constant, got"):
        SearchSpace(domains)


def test_a_constant_is_a_choice_of_one() -> None:
    space = SearchSpace({"model.depth": 3, "batch_size": Choice(8, 16)})
    assert space["model.depth"] == Choice(3)
    assert SearchSpace.from_dict({"model.depth": 3, "batch_size": {"choice": [8, 16]}}) == space
    assert space.sample(np.random.default_rng(0))["model.depth"] == 3


# The unit cube


def test_a_place_is_decoded_to_active_parameters_only() -> None:
    assert SPACE.decode(np.array([0.5, 0.1, 0.0, 0.9])) == {
        "optimizer.momentum": 0.4,
        "optimizer.name": "sgd",
        "model.channels": 1,
        "batch_size": 128,
    }
    assert SPACE.decode(np.array([0.5, 0.9, 1.0, 0.5])) == {
        "optimizer.name": "adamw",
        "model.channels": 7,
        "batch_size": 64,
    }


def test_a_configuration_is_encoded_with_a_half_for_what_is_inactive() -> None:
    config: dict[str, Any] = {"optimizer.name": "adamw", "model.channels": 1, "batch_size": 32}
    encoded = SPACE.encode(config)
    assert encoded.dtype == np.float64
    assert encoded[:2].tolist() == [0.5, 0.75]
    assert encoded[2] == pytest.approx(1 / 6)  # the centre of 1, which owns log 2 of log 8
    assert encoded[3] == pytest.approx(1 / 6)


@pytest.mark.parametrize("space", [SPACE, NESTED])
def test_samples_are_configurations_of_plain_values(space: SearchSpace) -> None:
    generator = np.random.default_rng(7)
    for _ in range(200):
        config = space.sample(generator)
        space.check(config)
        assert all(type(value) in (bool, int, float, str) for value in config.values())
        assert tuple(config) == space.active(config)
        assert space.decode(space.encode(config)) == pytest.approx(config)


def test_the_same_seed_samples_the_same_configurations() -> None:
    first, second = np.random.default_rng(7), np.random.default_rng(7)
    assert [SPACE.sample(first) for _ in range(20)] == [SPACE.sample(second) for _ in range(20)]


def test_a_sample_takes_one_number_per_parameter_whatever_is_active() -> None:
    generator, reference = np.random.default_rng(7), np.random.default_rng(7)
    for _ in range(10):
        SPACE.sample(generator)
    reference.random(40)
    assert generator.random() == reference.random()


@pytest.mark.parametrize("shape", [(3,), (5,), (4, 1), ()])
def test_places_of_another_dimension_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SpaceError, match=r"expected a vector of shape \(4,\), got"):
        SPACE.decode(np.full(shape, 0.5))


@pytest.mark.parametrize("u", [-0.01, 1.01, math.nan, math.inf])
def test_places_outside_the_cube_are_refused(u: float) -> None:
    with pytest.raises(SpaceError, match=r"a coordinate must lie in \[0, 1\]"):
        SPACE.decode(np.array([0.5, u, 0.5, 0.5]))


# Conditions


def test_conditions_hold_through_their_parents() -> None:
    assert NESTED.active({"a": True, "b": 2}) == ("c", "b", "a")
    assert NESTED.active({"a": True, "b": 1}) == ("b", "a", "d")
    assert NESTED.active({"a": False}) == ("a",)


def test_a_value_of_an_inactive_parent_does_not_count() -> None:
    assert NESTED.active({"a": False, "b": 2}) == ("a",)


def test_nothing_hangs_on_a_parent_without_a_value() -> None:
    assert NESTED.active({}) == ("a",)
    assert NESTED.active({"a": True}) == ("b", "a")


def test_a_condition_on_true_does_not_hold_for_one() -> None:
    assert NESTED.active({"a": 1}) == ("a",)


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"optimizer.nam": "sgd"}, r"which is not a parameter of the space \(did you mean 'opt"),
        ({"zzz": 1}, "^child: when names 'zzz', which is not a parameter of the space"),
        ({"rate": 0.5}, "^child: when may name a Choice or an Int, but rate is a Float"),
        (
            {"optimizer.name": "sdg"},
            r"^child: when can never hold; optimizer.name must be one of ",
        ),
        ({"layers": 4}, "^child: when can never hold; layers must be a whole number from 1 to 3"),
        ({"layers": True}, "^child: when can never hold; layers must be a whole number"),
        ({"layers": 1, "rate": 1}, "but rate is a Float"),
    ],
)
def test_impossible_conditions_are_refused(when: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SearchSpace(
            {
                "optimizer.name": Choice("sgd", "adamw"),
                "layers": Int(1, 3),
                "rate": Float(0, 1),
                "child": Float(0, 1, when=when),
            }
        )


def test_a_circle_of_conditions_is_refused() -> None:
    domains = {
        "free": Int(1, 2),
        "a": Int(1, 2, when={"c": 1}),
        "b": Int(1, 2, when={"a": 1}),
        "c": Int(1, 2, when={"b": 1, "free": 1}),
    }
    with pytest.raises(SpaceError, match="conditions lead in a circle through a, b, c; break it"):
        SearchSpace(domains)


def test_a_parameter_cannot_depend_on_itself() -> None:
    with pytest.raises(SpaceError, match="conditions lead in a circle through a"):
        SearchSpace({"a": Int(1, 2, when={"a": 1})})


# Checking configurations

GOOD: dict[str, Any] = {
    "optimizer.momentum": 0.5,
    "optimizer.name": "sgd",
    "model.channels": 3,
    "batch_size": 64,
}


def test_a_good_configuration_passes_in_any_order() -> None:
    SPACE.check(GOOD)
    SPACE.check(dict(reversed(list(GOOD.items()))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer.momentum": 0.9},
            r"^optimizer.momentum must be a number from 0.0 to 0.8, got",
        ),
        ({"optimizer.momentum": math.nan}, "^optimizer.momentum must be a number .*, got nan"),
        ({"model.channels": 8}, "^model.channels must be a whole number from 1 to 7, got 8"),
        ({"model.channels": True}, "^model.channels must be a whole number from 1 to 7, got True"),
        ({"batch_size": 100}, "^batch_size must be one of 32, 64, 128, got 100"),
        ({"optimizer.name": "sgdd"}, r"got 'sgdd' \(did you mean 'sgd'\?\)"),
        ({"optimizer.name": "adamw"}, "momentum applies only when optimizer.name is 'sgd'; leave"),
        (
            {"optimizer.momentun": 0.5},
            r"^'optimizer.momentun' is not a parameter .*\(did you mean",
        ),
        ({1: 0.5}, "^1 is not a parameter of the space"),
    ],
)
def test_a_bad_configuration_is_refused_by_name(changes: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SPACE.check(GOOD | changes)
    with pytest.raises(SpaceError, match=message):
        SPACE.encode(GOOD | changes)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("optimizer.momentum", "a number from 0.0 to 0.8"),
        ("model.channels", "a whole number from 1 to 7"),
        ("batch_size", "one of 32, 64, 128"),
    ],
)
def test_a_missing_parameter_is_named_with_what_it_allows(name: str, allowed: str) -> None:
    config: dict[str, Any] = {key: value for key, value in GOOD.items() if key != name}
    with pytest.raises(SpaceError, match=f"^{name} is missing; give it {allowed}"):
        SPACE.check(config)


# YAML

YAML = """\
model.channels: {int: [8, 64], log: true}
model.dropout: {float: [0, 0.6]}
optimizer.name: {choice: [sgd, adamw, no]}
optimizer.learning_rate: {float: [1e-4, 1e-1], log: true}
optimizer.momentum: {float: [0.0, 0.99], when: {optimizer.name: sgd}}
optimizer.nesterov: {choice: [true, false], when: {optimizer.name: [sgd, adamw]}}
"""


def test_a_space_is_read_from_yaml() -> None:
    assert SearchSpace.from_yaml(YAML) == SearchSpace(
        {
            "model.channels": Int(8, 64, log=True),
            "model.dropout": Float(0.0, 0.6),
            "optimizer.name": Choice("sgd", "adamw", "no"),
            "optimizer.learning_rate": Float(0.0001, 0.1, log=True),
            "optimizer.momentum": Float(0.0, 0.99, when={"optimizer.name": "sgd"}),
            "optimizer.nesterov": Choice(True, False, when={"optimizer.name": ["sgd", "adamw"]}),
        }
    )


@pytest.mark.parametrize(
    "space",
    [
        SPACE,
        NESTED,
        SearchSpace.from_yaml(YAML),
        SearchSpace({"a": Choice("no", "1e-3", "", "true", 1, 1.0, True, 1e-7, "2026-11-01")}),
        SearchSpace({"a": Float(1e-7, 1e22, log=True), "b": Int(-(2**40), 2**40)}),
    ],
)
def test_a_space_comes_back_from_yaml_and_from_its_dictionary(space: SearchSpace) -> None:
    assert SearchSpace.from_yaml(space.to_yaml()) == space
    assert SearchSpace.from_dict(space.to_dict()) == space


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "^space.yaml: a search space maps names to domains, got None"),
        ("{}", "^space.yaml: a search space maps one or more names to domains"),
        ("[a, b]", r"^space.yaml: a search space maps names to domains, got \['a', 'b'\]"),
        ("a: {float: [0, .nan]}", "^space.yaml: a: Float: high must be a finite number, got nan"),
        ("a: {float: [0, 1e400]}", "^space.yaml: a: Float: high must be a finite number, got inf"),
        ("a: {int: [0, yes]}", "^space.yaml: a: Int: high must be a whole number, got 'yes'"),
        ("a: {int: [0, true]}", "^space.yaml: a: Int: high must be a whole number, got True"),
        ("a: {flot: [0, 1]}", r"^space.yaml: a: expected one of float.* \(did you mean 'float'\?"),
    ],
)
def test_yaml_that_is_no_space_is_refused_with_its_source(text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SearchSpace.from_yaml(text, source="space.yaml")


def test_a_repeated_parameter_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"^search space line 2: the key 'a' stands here again"):
        SearchSpace.from_yaml("a: {int: [1, 2]}\na: {int: [1, 3]}\n")


def test_all_wrong_parameters_are_told_at_once() -> None:
    wrong = {"a": {"flaot": [0, 1]}, "b": {"int": [1, 9]}, "C": {"int": [1]}, "d": {"int": [9, 1]}}
    with pytest.raises(SpaceError) as caught:
        SearchSpace.from_dict(wrong)
    told = str(caught.value)
    assert told.startswith("a: expected one of float, int and choice, ")
    assert "such as model.channels, got 'C'. d: Int: low must be below high" in told

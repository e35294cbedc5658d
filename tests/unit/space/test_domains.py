import copy
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from rayfold.errors import SpaceError
from rayfold.space import Choice, Condition, Domain, Float, Int, domain_from_dict

HUGE = 10**5000  # Python refuses to print it
JUST_BELOW_ONE = math.nextafter(1.0, 0.0)


# Float


def test_a_float_runs_from_low_to_high() -> None:
    domain = Float(-1.0, 3.0)
    assert [domain.from_unit(u) for u in (0.0, 0.25, 0.5, 1.0)] == [-1.0, 0.0, 1.0, 3.0]
    assert [domain.to_unit(x) for x in (-1.0, 0.0, 1, 3.0)] == [0.0, 0.25, 0.5, 1.0]


def test_a_log_float_gives_each_order_of_magnitude_the_same_share() -> None:
    domain = Float(1e-4, 1e-1, log=True)
    assert domain.from_unit(1 / 3) == pytest.approx(1e-3)
    assert domain.from_unit(2 / 3) == pytest.approx(1e-2)
    assert domain.to_unit(1e-2) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "domain",
    [
        Float(0.1, 0.3),
        Float(1e-4, 1e-1, log=True),
        Float(3.3, 7.7, log=True),
        Float(5e-324, 1.7e308, log=True),
        Float(-8e307, 8e307),
    ],
)
def test_a_float_reaches_both_bounds_exactly_and_never_leaves_them(domain: Float) -> None:
    assert domain.from_unit(0.0) == domain.low
    assert domain.from_unit(1.0) == domain.high
    assert domain.to_unit(domain.low) == 0.0
    assert domain.to_unit(domain.high) == 1.0
    for u in (5e-324, 1e-17, JUST_BELOW_ONE):
        assert domain.low <= domain.from_unit(u) <= domain.high


def test_float_bounds_may_be_whole_numbers_and_become_floats() -> None:
    domain = Float(0, 1)
    assert domain == Float(0.0, 1.0)
    assert type(domain.low) is type(domain.high) is float
    assert type(domain.from_unit(1.0)) is float


@pytest.mark.parametrize(
    ("bounds", "field"),
    [
        ((math.nan, 1.0), "low"),
        ((0.0, math.nan), "high"),
        ((-math.inf, 1.0), "low"),
        ((0.0, math.inf), "high"),
        ((True, 2.0), "low"),
        ((0.0, "1"), "high"),
        ((0.0, None), "high"),
        ((0.0, 10**400), "high"),
        pytest.param((0.0, HUGE), "high", id="huge"),
    ],
)
def test_float_bounds_must_be_finite_numbers(bounds: tuple[Any, Any], field: str) -> None:
    with pytest.raises(SpaceError, match=f"^Float: {field} must be a finite number, got "):
        Float(*bounds)


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (2.0, 1.0)])
def test_low_must_be_below_high(bounds: tuple[float, float]) -> None:
    with pytest.raises(SpaceError, match="Float: low must be below high, got"):
        Float(*bounds)
    with pytest.raises(SpaceError, match=r"Int: low must be below high.* is fixed, not searched"):
        Int(*map(int, bounds))


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_a_log_scale_begins_above_zero(low: float) -> None:
    with pytest.raises(SpaceError, match="Float: log=True needs a low above 0, got"):
        Float(low, 1.0, log=True)
    with pytest.raises(SpaceError, match="Int: log=True needs a low of at least 1, got"):
        Int(int(low), 8, log=True)


def test_ranges_that_arithmetic_cannot_span_are_refused() -> None:
    with pytest.raises(SpaceError, match="high - low must be finite"):
        Float(-1.7e308, 1.7e308)
    with pytest.raises(SpaceError, match="log=True needs a wider range"):
        Float(1e300, math.nextafter(1e300, math.inf), log=True)


def test_log_is_a_bool() -> None:
    log: Any = "yes"
    with pytest.raises(SpaceError, match="Float: log must be true or false, got 'yes'"):
        Float(0.1, 1.0, log=log)


@pytest.mark.parametrize(
    "value", [0.7, -0.1, math.nan, math.inf, True, "0.5", None, pytest.param(HUGE, id="huge")]
)
def test_a_float_says_what_it_allows(value: Any) -> None:
    problem = Float(0.0, 0.6).check(value)
    assert problem is not None
    assert problem.startswith("must be a number from 0.0 to 0.6, got ")
    assert len(problem) < 120


def test_numpy_scalars_are_no_values_but_may_be_bounds() -> None:
    assert Float(0.0, 1.0).check(np.float64(0.5)) is not None
    assert Int(0, 9).check(np.int64(5)) is not None
    zero: Any = np.float32(0.0)
    nine: Any = np.int64(9)
    assert Float(zero, nine) == Float(0.0, 9.0)
    assert type(Float(zero, nine).low) is type(Float(zero, nine).high) is float
    assert Int(nine, 12) == Int(9, 12)
    assert type(Int(nine, 12).low) is int


# Int


def test_every_integer_owns_an_equal_share() -> None:
    domain = Int(3, 6)
    edges = [0.0, 0.24, 0.26, 0.49, 0.51, 0.74, 0.76, 1.0]
    assert [domain.from_unit(u) for u in edges] == [3, 3, 4, 4, 5, 5, 6, 6]
    assert [domain.to_unit(value) for value in (3, 4, 5, 6)] == [0.125, 0.375, 0.625, 0.875]


def test_both_bounds_of_an_integer_are_drawn_as_often_as_the_rest() -> None:
    draws = (np.arange(3000) + 0.5) / 3000
    values, counts = np.unique([Int(-1, 1).from_unit(u) for u in draws], return_counts=True)
    assert values.tolist() == [-1, 0, 1]
    assert counts.tolist() == [1000, 1000, 1000]


def test_a_log_integer_owns_the_logarithm_of_its_stretch() -> None:
    """1 to 7: the whole is log 8, so that 1 owns a third, 2 and 3 together, 4 to 7 together."""
    domain = Int(1, 7, log=True)
    draws = (np.arange(30_000) + 0.5) / 30_000
    values = np.array([domain.from_unit(u) for u in draws])
    assert np.mean(values == 1) == pytest.approx(1 / 3, abs=1e-4)
    assert np.mean((values >= 2) & (values <= 3)) == pytest.approx(1 / 3, abs=1e-4)
    assert np.mean(values >= 4) == pytest.approx(1 / 3, abs=1e-4)
    assert np.mean(values == 7) == pytest.approx(math.log(8 / 7) / math.log(8), abs=1e-4)


def test_a_log_integer_sits_in_the_centre_of_its_stretch() -> None:
    """2 owns [log 2, log 3) of [log 1, log 8)."""
    centre = (math.log(2) + math.log(3)) / 2 / math.log(8)
    assert Int(1, 7, log=True).to_unit(2) == pytest.approx(centre)


@pytest.mark.parametrize(
    "domain",
    [
        Int(0, 1),
        Int(-5, 200),
        Int(1, 300, log=True),
        Int(8, 64, log=True),
        Int(2**40 - 50, 2**40),
        Int(2**40 - 50, 2**40, log=True),
        Int(-(2**40), -(2**40) + 9),
    ],
)
def test_every_integer_comes_back_from_its_place(domain: Int) -> None:
    for value in range(domain.low, domain.high + 1):
        assert domain.from_unit(domain.to_unit(value)) == value


@pytest.mark.parametrize("log", [False, True])
def test_the_widest_range_of_integers_tells_neighbours_apart(log: bool) -> None:
    domain = Int(1, 2**40, log=log)
    for value in (1, 2, 3, 2**20, 2**39, 2**40 - 2, 2**40 - 1, 2**40):
        assert domain.from_unit(domain.to_unit(value)) == value


@pytest.mark.parametrize("log", [False, True])
def test_an_integer_reaches_both_bounds_and_never_leaves_them(log: bool) -> None:
    domain = Int(8, 64, log=log)
    assert domain.from_unit(0.0) == 8
    assert domain.from_unit(JUST_BELOW_ONE) == domain.from_unit(1.0) == 64


@pytest.mark.parametrize("value", [True, 1.0, "1", None, math.nan, np.True_, np.float64(1.0)])
def test_integer_bounds_must_be_whole_numbers(value: Any) -> None:
    with pytest.raises(SpaceError, match=r"^Int: low must be a whole number, got "):
        Int(value, 8)
    with pytest.raises(SpaceError, match=r"^Int: high must be a whole number, got "):
        Int(-8, value)


@pytest.mark.parametrize("bound", [2**40 + 1, 10**30, pytest.param(HUGE, id="huge")])
def test_huge_integers_are_refused(bound: int) -> None:
    with pytest.raises(SpaceError, match="Int: high must lie within 1099511627776 of 0, got"):
        Int(0, bound)
    with pytest.raises(SpaceError, match="Int: low must lie within 1099511627776 of 0, got"):
        Int(-bound, 0)


@pytest.mark.parametrize("value", [7, 65, 8.0, True, "8", None, pytest.param(HUGE, id="huge")])
def test_an_integer_says_what_it_allows(value: Any) -> None:
    problem = Int(8, 64).check(value)
    assert problem is not None
    assert problem.startswith("must be a whole number from 8 to 64, got ")


# Choice


def test_every_choice_owns_an_equal_share_in_the_order_given() -> None:
    domain = Choice("sgd", "adam", "adamw", "lion")
    places = [0.0, 0.24, 0.26, 0.51, 0.76, 1.0]
    assert [domain.from_unit(u) for u in places] == ["sgd", "sgd", "adam", "adamw", "lion", "lion"]
    assert domain.to_unit("adam") == 0.375


def test_every_choice_comes_back_from_its_place_with_its_type() -> None:
    domain = Choice(True, 1, 1.5, "1", False, 0, -2)
    for value in domain.values:
        result = domain.from_unit(domain.to_unit(value))
        assert result == value
        assert type(result) is type(value)


def test_true_and_one_are_different_values() -> None:
    assert Choice(True) != Choice(1)
    assert Choice(1) != Choice(1.0)
    assert Choice(1).check(True) == "must be one of 1, got True"
    assert Choice(True).check(1) == "must be one of True, got 1"
    assert Choice(1, 2).check(1.0) is not None


def test_choices_are_equal_in_the_same_order_only() -> None:
    assert Choice("a", "b") == Choice("a", "b")
    assert hash(Choice("a", "b")) == hash(Choice("a", "b"))
    assert Choice("a", "b") != Choice("b", "a")
    assert Choice("a") != Float(0.0, 1.0)


def test_a_choice_needs_a_value() -> None:
    with pytest.raises(SpaceError, match=r"^Choice: at least one value is needed, got none\.$"):
        Choice()


@pytest.mark.parametrize("values", [("a", "b", "a"), (1, 1), (0.0, -0.0)])
def test_a_repeated_choice_is_refused(values: tuple[Any, ...]) -> None:
    with pytest.raises(SpaceError, match=r"^Choice: values must differ, got .* twice; keep one"):
        Choice(*values)


@pytest.mark.parametrize("value", [None, (1, 2), {"a": 1}, b"x", object(), Fraction(1, 2), 1j])
def test_choices_are_plain_scalars(value: Any) -> None:
    with pytest.raises(SpaceError, match=r"^Choice: a value must be a bool, int, float or text"):
        Choice("a", value)


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float32("nan")])
def test_choices_are_finite(value: Any) -> None:
    with pytest.raises(SpaceError, match=r"^Choice: a value must be finite, got"):
        Choice(1.0, value)


def test_a_list_instead_of_values_is_explained() -> None:
    values: Any = ["a", "b"]
    with pytest.raises(SpaceError, match=r"got \['a', 'b'\]; pass the values one by one\.$"):
        Choice(values)


def test_numpy_choices_become_plain() -> None:
    values: list[Any] = [np.int64(1), np.float64(0.5), np.str_("a"), np.True_]
    assert [type(value) for value in Choice(*values).values] == [int, float, str, bool]


def test_a_choice_suggests_the_nearest_text() -> None:
    expected = "must be one of 'sgd', 'adamw', got 'adamv' (did you mean 'adamw'?)"
    assert Choice("sgd", "adamw").check("adamv") == expected


def test_many_choices_are_not_all_shown() -> None:
    problem = Choice(*range(1000)).check(-1)
    assert problem == "must be one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..., got -1"


# All domains

DOMAINS = [
    Float(0.0, 0.6),
    Float(1e-4, 1e-1, log=True),
    Int(-3, 8),
    Int(8, 64, log=True),
    Choice("sgd", "adamw"),
    Choice(True, 1, 1.0, "1"),
    Float(0.0, 0.99, when={"optimizer.name": "sgd"}),
    Int(1, 3, when={"a": [1, 2], "b": True}),
    Choice("x", when={"a": ["sgd", "nesterov"]}),
]


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_domains_come_back_from_their_dictionary(domain: Domain) -> None:
    rebuilt = domain_from_dict("name", domain.to_dict())
    assert rebuilt == domain
    assert hash(rebuilt) == hash(domain)
    assert repr(rebuilt) == repr(domain)


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_domains_can_be_copied(domain: Domain) -> None:
    assert copy.deepcopy(domain) == domain


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
@pytest.mark.parametrize("u", [-1e-9, 1.0000001, math.nan, math.inf])
def test_places_outside_the_unit_interval_are_refused(domain: Domain, u: float) -> None:
    with pytest.raises(SpaceError, match=r"a coordinate must lie in \[0, 1\], got"):
        domain.from_unit(u)


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_values_outside_the_domain_have_no_place(domain: Domain) -> None:
    with pytest.raises(SpaceError, match=r"^the value must be .*, got 'nonsense'\.$"):
        domain.to_unit("nonsense")


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_plain_values_come_from_numpy_places(domain: Domain) -> None:
    assert type(domain.from_unit(np.float64(0.5))) in (bool, int, float, str)


def test_domains_are_frozen() -> None:
    domain: Any = Float(0.0, 1.0)
    with pytest.raises(AttributeError, match="cannot assign to field 'low'"):
        domain.low = 0.5


def test_the_dictionary_leaves_out_what_is_default() -> None:
    assert Float(0, 1).to_dict() == {"float": [0.0, 1.0]}
    assert Int(8, 64, log=True).to_dict() == {"int": [8, 64], "log": True}
    assert Choice("a", when={"b": 1, "c": [1, 2]}).to_dict() == {
        "choice": ["a"],
        "when": {"b": 1, "c": [1, 2]},
    }


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (None, r"^x: expected \{int: \[8, 64\], log: true\}, got None"),
        ([1, 2], r"^x: expected \{int: \[8, 64\], log: true\}, got \[1, 2\]"),
        ({}, "^x: expected one of float, int and choice, got {}"),
        ({"flaot": [0, 1]}, r"one of float, int and choice, got .* \(did you mean 'float'\?\)"),
        ({"int": [0, 1], "float": [0, 1]}, "^x: expected one of float, int and choice"),
        ({"int": [0, 1], "lgo": True}, r"^x: int allows log and when, got 'lgo' \(did you mean"),
        ({"choice": [0, 1], "log": True}, "^x: choice allows when, got 'log'"),
        ({"float": 3}, "^x: float takes a list, as in .*, got 3"),
        ({"choice": "sgd"}, "^x: choice takes a list, as in .*, got 'sgd'"),
        ({"float": [1]}, r"^x: float takes \[low, high\], got \[1\]"),
        ({"int": [1, 2, 3]}, r"^x: int takes \[low, high\], got \[1, 2, 3\]"),
        ({"int": [1.5, 3]}, "^x: Int: low must be a whole number, got 1.5"),
        ({"choice": []}, "^x: Choice: at least one value is needed"),
        ({"choice": [[1, 2]]}, "^x: Choice: a value must be a bool, int, float or text"),
        ({"float": [0, 1], "when": "sgd"}, "^x: when maps names to values, got 'sgd'"),
        ({1: [0, 1]}, "^x: expected one of float, int and choice"),
    ],
)
def test_malformed_dictionaries_are_refused_by_name(mapping: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        domain_from_dict("x", mapping)


# Conditions


def test_conditions_are_told_apart_by_type() -> None:
    assert Condition("a", (True,)) != Condition("a", (1,))
    assert Condition("a", (1,)) == Condition("a", (1,))
    assert Condition("a", (1,)) != "a"
    assert Float(0, 1, when={"a": True}) != Float(0, 1, when={"a": 1})


def test_a_condition_reads_as_a_sentence() -> None:
    assert str(Condition("optimizer.name", ("sgd",))) == "optimizer.name is 'sgd'"
    assert str(Condition("model.layers", (2, 3))) == "model.layers is one of 2, 3"


def test_no_conditions_may_be_given_as_an_empty_mapping() -> None:
    assert Float(0, 1, when={}) == Float(0, 1)


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("sgd", "when maps names to values, got 'sgd'"),
        ({1: "sgd"}, "when maps names to values, got the name 1"),
        ({"a": []}, "when a: at least one value is needed"),
        ({"a": ["x", "x"]}, "when a: values must differ, got 'x' twice"),
        ({"a": None}, "when a: a value must be a bool, int, float or text, got None"),
        ({"a": math.nan}, "when a: a value must be finite"),
    ],
)
def test_malformed_conditions_are_refused(when: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Float(0, 1, when=when)


def test_extremes_are_the_bounds_or_all_values() -> None:
    assert Float(0.5, 2).extremes == (0.5, 2.0)
    assert Int(1, 8, log=True).extremes == (1, 8)
    assert Choice("b", "a", "c").extremes == ("b", "a", "c")

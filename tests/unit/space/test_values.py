import enum
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rayfold.errors import SpaceError
from rayfold.space import Choice, Float, Int, plain_config, plain_parameters
from rayfold.space.values import plain_value


class Size(enum.IntEnum):
    SMALL = 8


class Kind(enum.StrEnum):
    DEEP = "deep"


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (np.int64(8), 8),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("adamw"), "adamw"),
        (np.array(3), 3),
        (torch.tensor(0.25), 0.25),
        (Size.SMALL, 8),
        (Kind.DEEP, "deep"),
        (Path("weights/net.pt"), "weights/net.pt"),
    ],
)
def test_what_stands_for_a_plain_value_becomes_it(given: Any, plain: Any) -> None:
    found = plain_value(given)
    assert (type(found), found) == (type(plain), plain)
    assert Choice(given, "other").values == (plain, "other")
    assert plain_parameters({"model.x": given}) == {"model.x": plain}
    assert plain_config({"model.x": given}) == {"model.x": plain}


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ((8, 8), [8, 8]),
        ([(1, 2), (3,)], [[1, 2], [3]]),
        (range(3), [0, 1, 2]),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (torch.tensor([0.5, 1.5]), [0.5, 1.5]),
        ((Size.SMALL, np.float64(0.5), None), [8, 0.5, None]),
        (None, None),
    ],
)
def test_what_is_not_searched_may_be_a_list(given: Any, plain: Any) -> None:
    """It comes out of the journal, which is JSON, as it went in."""
    found = plain_parameters({"model.layers": given})
    assert found == {"model.layers": plain}
    assert json.loads(json.dumps(found)) == found
    assert plain_parameters(found) == found


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({8, 16}, "a set has no order: pass a sorted list"),
        (Decimal("0.1"), "pass float"),
        (Colour.RED, "pass its value or name"),
        (torch.float32, "pass a name, and let the model look it up"),
        (torch.relu, "pass a name"),
        (torch.nn.ReLU, "pass a name"),
        ({"name": "adamw"}, "write its name with dots"),
        (b"adamw", "pass a name"),
        (1 + 2j, "must be a bool, int, float or text"),
        (float("nan"), "must be finite"),
        (np.float32("inf"), "must be finite"),
        ("a\0b", "Unicode without NUL"),
        ("\ud800", "Unicode without NUL"),
        ([0.5, float("inf")], "must be finite"),
        (np.array([1, np.nan]), "must be finite"),
    ],
)
def test_what_cannot_be_plain_is_refused_in_a_line_that_names_the_parameter(
    given: Any, remedy: str
) -> None:
    with pytest.raises(SpaceError, match=rf"^model\.x: a .*{remedy}") as told:
        plain_parameters({"model.x": given})
    assert "\n" not in str(told.value)
    with pytest.raises(SpaceError, match=r"^model\.x: a "):
        plain_config({"model.x": given})


def test_bounds_may_be_numbers_of_numpy_and_pytorch() -> None:
    low: Any = np.int32(2)
    high: Any = torch.tensor(8)
    assert Int(low, high) == Int(2, 8)
    low, high = np.float64(0.25), torch.tensor(0.5)
    assert Float(low, high) == Float(0.25, 0.5)


def test_names_are_texts() -> None:
    parameters: Mapping[Any, object] = {8: 1}
    with pytest.raises(SpaceError, match="names of parameters are texts, got 8"):
        plain_parameters(parameters)

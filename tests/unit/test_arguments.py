"""Arguments are checked by their annotations, and told with what they may be."""

from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import Field

from rayfold.errors import RecipeError
from rayfold.options.arguments import checked
from rayfold.options.fields import BelowOne, Count, Flag, Fraction, Share, plain


@checked
def train(
    epochs: Count,
    *,
    share: Share = 0.5,
    decay: Fraction = 0.9,
    top: BelowOne = 0,
    quantile: Annotated[float, Field(strict=True, gt=0, le=0.5), plain] = 0.25,
    order: Literal["in_turn", "together"] | None = None,
    shuffle: Flag = True,
    anything: Any = None,
) -> tuple[Any, ...]:
    return epochs, share, top, order


def test_values_come_as_python_has_them() -> None:
    given: dict[str, Any] = {"epochs": np.int64(3), "share": np.float32(0.25)}
    epochs, share, top, order = train(**given, order="together")
    assert (type(epochs), epochs, type(share), share) == (int, 3, float, 0.25)
    assert (top, order) == (0, "together")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, r"^epochs must be a whole number from 1 to 10{9}, got 0\.$"),
        ({"epochs": 2.0}, r"^epochs must be a whole number from 1 to 10{9}, got 2\.0\.$"),
        ({"epochs": True}, "got True"),
        ({"share": 1.5}, r"^share must be a number from 0 to 1, got 1\.5\.$"),
        ({"share": float("nan")}, "got nan"),
        ({"decay": 1}, r"^decay must be a number between 0 and 1, got 1\.$"),
        ({"top": "0.1"}, r"^top must be a number from 0 to below 1, got '0\.1'\.$"),
        ({"quantile": 0.6}, r"^quantile must be a number above 0, at most 0\.5, got 0\.6\.$"),
        (
            {"order": "in_trun"},
            r"^order must be one of in_turn, together, got 'in_trun' \(did you mean 'in_turn'\?\)",
        ),
        ({"shuffle": 1}, r"^shuffle must be true or false, got 1\.$"),
    ],
)
def test_what_is_wrong_is_told_with_what_it_may_be(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        train(**{"epochs": 1, **arguments})


def test_other_mistakes_are_pythons_own() -> None:
    with pytest.raises(TypeError, match="epochs"):
        train()  # type: ignore[call-arg]

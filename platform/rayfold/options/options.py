"""Frozen dataclasses whose fields are checked, in Python and in a recipe alike."""

from collections.abc import Mapping
from inspect import signature
from typing import Any, TypeVar, dataclass_transform

import pydantic.dataclasses
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from rayfold.errors import RecipeError
from rayfold.options.explain import explain, fields_of

Made = TypeVar("Made")

_CONFIG = ConfigDict(
    extra="forbid",
    allow_inf_nan=False,
    arbitrary_types_allowed=True,
    use_attribute_docstrings=True,
)


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def options(name: str = "", *, moved: Mapping[str, str] | None = None) -> Any:
    """Make a class of annotated fields a frozen dataclass that checks its values.

    A field's annotation says what it accepts, and the text below it what it means; a recipe's
    JSON schema shows both. What no annotation can say is checked in ``__post_init__``, which
    raises ValueError with a text that goes on after the name of the options.

    Args:
        name: What errors call the options in Python, such as ``"folds"`` for ``folds.count``.
        moved: Fields of old, each with what takes its place.

    Returns:
        A class decorator. The class raises RecipeError, a line for each field that is wrong.
    """

    def decorate(cls: type[Any]) -> type[Any]:
        made: Any = pydantic.dataclasses.dataclass(frozen=True, config=_CONFIG)(cls)
        made._moved = dict(moved or {})
        checked = made.__init__

        def construct(self: Any, *args: Any, **values: Any) -> None:
            try:
                checked(self, *args, **values)
            except ValidationError as error:
                raise RecipeError(explain(error, made, above=name)) from None

        construct.__signature__ = signature(checked)  # type: ignore[attr-defined]
        made.__init__ = construct
        return made  # type: ignore[no-any-return]

    return decorate


def parse(kind: type[Made], value: object) -> Made:
    """Return options from what stands in a recipe; to be called in a field's validator.

    Raises:
        ValidationError: If a field is wrong; pydantic adds the place of the options to it.
    """
    return TypeAdapter(kind).validate_python(value)


def field_names(kind: type) -> tuple[str, ...]:
    """Return what the fields of options are called in a recipe."""
    return tuple(fields_of(kind))

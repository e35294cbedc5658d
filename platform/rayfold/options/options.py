"""Frozen dataclasses whose fields are checked, in Python and in a recipe alike."""

import inspect
import textwrap
from collections.abc import Mapping
from typing import Any, dataclass_transform, get_type_hints

import pydantic.dataclasses
from pydantic import ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from rayfold.errors import RecipeError
from rayfold.options.explain import explain

ARGUMENTS = "\n\nArgs:\n"
"""Begins the generated part of a docstring, which lists the fields."""

_CONFIG = ConfigDict(
    extra="forbid",
    allow_inf_nan=False,
    arbitrary_types_allowed=True,
    use_attribute_docstrings=True,
)


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def options(name: str = "", *, moved: Mapping[str, str] | None = None) -> Any:
    """Make a class of annotated fields a frozen dataclass that checks its values.

    A field's annotation says what it accepts; the text below it says what it means. The JSON
    schema shows both. Other checks are in ``__post_init__``, which raises ValueError with a text
    that continues the name of the options.

    Args:
        name: Name of the options in errors in Python, such as ``"folds"`` for ``folds.count``.
        moved: Old fields, each with its replacement.

    Returns:
        A class decorator. The class raises RecipeError with one line for each wrong field.
    """

    def decorate(cls: type[Any]) -> type[Any]:
        made: Any = pydantic.dataclasses.dataclass(frozen=True, config=_CONFIG)(cls)
        made._moved = dict(moved or {})
        made.__doc__ = f"{inspect.cleandoc(made.__doc__ or '')}{ARGUMENTS}{_arguments(made)}"
        checked = made.__init__

        def construct(self: Any, *args: Any, **values: Any) -> None:
            try:
                checked(self, *args, **values)
            except ValidationError as error:
                raise RecipeError(explain(error, made, above=name)) from None

        made.__init__ = construct
        made.__signature__ = _signature(made)
        return made  # type: ignore[no-any-return]

    return decorate


def _signature(kind: type) -> inspect.Signature:
    """Return the constructor's signature, with types as people write them."""
    plain, types = inspect.signature(kind), get_type_hints(kind)
    return plain.replace(
        parameters=[
            parameter.replace(annotation=types[name])
            for name, parameter in plain.parameters.items()
        ]
    )


def _arguments(kind: type) -> str:
    lines = []
    for name, field in kind.__pydantic_fields__.items():  # type: ignore[attr-defined]
        text = " ".join((field.description or "").split())
        default = "" if field.is_required() or field.default is None else _shown(field)
        lines.append(
            textwrap.fill(
                f"{name}: {text}{default}", 95, initial_indent="    ", subsequent_indent="        "
            )
        )
    return "\n".join(lines)


def _shown(field: FieldInfo) -> str:
    made = field.get_default(call_default_factory=True)
    return f" Default: {made!r}." if isinstance(made, bool | int | float | str) else ""

"""Arguments of functions in Python, checked as options of a recipe are."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from rayfold.errors import RecipeError, did_you_mean
from rayfold.space.values import show

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def checked(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Check the arguments of a function against their annotations.

    Only those are checked whose annotation is a type of ``options.fields``, such as ``Count``, or
    a ``Literal``; None is allowed beside it. Defaults are taken as they are.

    Returns:
        The function. It raises RecipeError, a line that names the argument.
    """
    signature = inspect.signature(function)

    @functools.cache
    def types() -> dict[str, TypeAdapter[Any]]:
        hints = get_type_hints(function, include_extras=True)
        config = ConfigDict(allow_inf_nan=False)
        return {
            name: TypeAdapter(hint, config=config)
            for name, hint in hints.items()
            if name in signature.parameters and _has_check(hint)
        }

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        bound = signature.bind(*args, **kwargs)
        for name, kind in types().items():
            if name in bound.arguments:
                value = bound.arguments[name]
                try:
                    bound.arguments[name] = kind.validate_python(value)
                except ValidationError:
                    expected = _expected(kind.json_schema(), value)
                    raise RecipeError(f"{name} must be {expected}.") from None
        return function(*bound.args, **bound.kwargs)

    return call


def _has_check(hint: Any) -> bool:
    """Tell whether an annotation says more than a plain type."""
    if get_origin(hint) is Literal or hasattr(hint, "__metadata__"):
        return True
    return any(map(_has_check, get_args(hint)))


def _expected(schema: Mapping[str, Any], got: object) -> str:
    """Say what a JSON schema accepts, and what came instead."""
    schema = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"][-1]
    names = [schema["const"]] if "const" in schema else schema.get("enum")
    if names:
        return f"one of {', '.join(names)}, got {show(got)}{did_you_mean(str(got), names)}"
    kind = {"boolean": "true or false", "integer": "a whole number", "number": "a number"}
    return f"{kind[schema['type']]}{_bounds(schema)}, got {show(got)}"


def _bounds(schema: Mapping[str, Any]) -> str:
    """Return the bounds of a number in words: ``" from 0 to 1"``."""
    names = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    low, high, above, below = (
        int(bound) if isinstance(bound, float) and bound.is_integer() else bound
        for bound in map(schema.get, names)
    )
    if above is None:
        least = "" if low is None else f" from {low}"
        if below is not None:
            return f"{least} to below {below}"
        return least if high is None else f"{least} to {high}"
    if below is not None:
        return f" between {above} and {below}"
    return f" above {above}" if high is None else f" above {above}, at most {high}"

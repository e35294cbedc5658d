"""Objects by the names and arguments that recipes use."""

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from rayfold.errors import RecipeError, did_you_mean

Made = TypeVar("Made")


def create_by_name(
    kind: str,
    classes: Mapping[str, type[Made]],
    name: str,
    arguments: Mapping[str, Any] | None,
) -> Made:
    """Return a new object of one of several classes.

    Args:
        kind: What errors call the objects, such as ``"searcher"``.
        classes: Name in a recipe to class.
        name: One of these names.
        arguments: Keyword arguments of the class's constructor.

    Raises:
        RecipeError: If there is no such name or argument, or an argument is missing or out of
            range.
    """
    if name not in classes:
        hint = did_you_mean(str(name), list(classes))
        raise RecipeError(f"{kind} must be one of {', '.join(classes)}, got {name!r}{hint}.")
    parameters = inspect.signature(classes[name]).parameters
    known = list(parameters)
    for argument in arguments or {}:
        if argument not in known:
            hint = did_you_mean(str(argument), known)
            raise RecipeError(f"{name} takes {', '.join(known)}, got {argument!r}{hint}.")
    for argument, parameter in parameters.items():
        if parameter.default is parameter.empty and argument not in (arguments or {}):
            raise RecipeError(f"{name} needs {argument}; write {{{name}: {{{argument}: ...}}}}.")
    try:
        return classes[name](**(arguments or {}))
    except RecipeError as error:
        raise RecipeError(f"{name}: {error}") from None

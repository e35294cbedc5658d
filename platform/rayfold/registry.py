"""Objects by the names, or references, and arguments that recipes use."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from rayfold.errors import RecipeError, did_you_mean
from rayfold.user_code import find_source, load_class
from rayfold.user_code.first_import import try_import

Made = TypeVar("Made")


def create_by_name(
    kind: type[Made],
    classes: Mapping[str, type[Made]],
    name: str,
    arguments: Mapping[str, Any] | None,
    *,
    base: Path | None = None,
) -> Made:
    """Return a new object of one of several classes, or of a class of the user's own.

    Args:
        kind: What all of them are; errors call it by its name in small letters.
        classes: Name in a recipe to class.
        name: One of these names, ``"package.module:ClassName"`` or ``"./file.py:ClassName"``.
        arguments: Keyword arguments of the class's constructor.
        base: Folder that files are relative to; None is the current folder.

    Raises:
        RecipeError: If there is no such name or argument, or an argument is missing or out of
            range.
        ModelError: If a reference cannot be imported, or names something else.
    """
    made = _class_of(kind, classes, name, base)
    parameters = inspect.signature(made).parameters
    known = list(parameters)
    for argument in arguments or {}:
        if argument not in known:
            hint = did_you_mean(str(argument), known)
            raise RecipeError(f"{name} takes {', '.join(known)}, got {argument!r}{hint}.")
    for argument, parameter in parameters.items():
        if parameter.default is parameter.empty and argument not in (arguments or {}):
            raise RecipeError(f"{name} needs {argument}; write {{{name}: {{{argument}: ...}}}}.")
    try:
        return made(**(arguments or {}))
    except RecipeError as error:
        raise RecipeError(f"{name}: {error}") from None


def _class_of(
    kind: type[Made], classes: Mapping[str, type[Made]], name: str, base: Path | None
) -> type[Made]:
    what = kind.__name__.lower()
    if isinstance(name, str) and ":" in name:
        source = find_source(name, base=base, what=what)
        try_import(source)
        found: type[Made] = load_class(source, kind)
        return found
    if name not in classes:
        hint = did_you_mean(str(name), list(classes))
        raise RecipeError(
            f"{what} must be one of {', '.join(classes)}, or a reference such as "
            f"'./file.py:ClassName', got {name!r}{hint}."
        )
    return classes[name]

"""Classes that live in no file that could travel: those of a notebook, or made in a function."""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from rayfold.user_code.imports import is_installed


def class_text(found: type) -> str | None:
    """Return the source of a class, and of the functions and classes beside it that it uses.

    Returns:
        The texts, sorted by name; None where Python does not know the class's own.
    """
    texts: dict[str, str] = {}
    if not _enter(found, texts, set()):
        return None
    return "\n".join(texts[name] for name in sorted(texts))


def local_files(found: type) -> list[str]:
    """Return the files of the user's that a class uses, other than the one that it is in.

    A pickle names them only: another node, or a worker after an edit, would not have their code.
    What methods import when they are called cannot be seen.
    """
    modules: set[str] = set()
    _enter(found, {}, modules)
    files = {
        getattr(sys.modules.get(name), "__file__", None)
        for name in modules
        if name.partition(".")[0] != "rayfold"
    }
    return sorted(file for file in files if file and not is_installed(Path(file).resolve()))


def pickled(found: type) -> bytes:
    """Return a class pickled by value.

    Raises:
        Exception: Whatever cannot be pickled raises.
    """
    data: bytes = cloudpickle.dumps(found)
    return data


def unpickled(data: bytes) -> type:
    """Return the class again."""
    found: type = cloudpickle.loads(data)
    return found


def _enter(found: Any, texts: dict[str, str], modules: set[str]) -> bool:
    """Enter the text of a class or function, and what it uses.

    Args:
        found: The class or function.
        texts: Takes its text, and those of what it uses from its own module.
        modules: Takes the names of the other modules that these use.

    Returns:
        Whether Python knows its text.
    """
    name = found.__qualname__
    if name in texts:
        return True
    text = _text(found)
    texts[name] = text or ""
    scope = vars(sys.modules.get(found.__module__, object))
    values = [scope.get(part) for code in _codes(found) for part in code.co_names]
    if isinstance(found, type):
        values += found.__mro__[1:]
    for value in values:
        if isinstance(value, ModuleType):
            modules.add(value.__name__)
        elif isinstance(value, type | FunctionType):
            if value.__module__ == found.__module__:
                _enter(value, texts, modules)
            else:
                modules.add(value.__module__)
    return text is not None


def _text(found: Any) -> str | None:
    """Return the source of a class or function; notebooks know that of a class's methods alone."""
    try:
        return inspect.getsource(found)
    except (OSError, TypeError):
        if not isinstance(found, type):
            return None
    texts = []
    for name, value in sorted(vars(found).items()):
        if isinstance(value, FunctionType):
            try:
                texts.append(inspect.getsource(value))
            except (OSError, TypeError):
                return None
        elif not name.startswith("__") and isinstance(value, bool | int | float | str | tuple):
            texts.append(f"{name} = {value!r}\n")
    return "".join(texts) or None


def _codes(found: Any) -> Iterator[CodeType]:
    functions = [found] if isinstance(found, FunctionType) else vars(found).values()
    queue = [value.__code__ for value in functions if isinstance(value, FunctionType)]
    while queue:
        code = queue.pop()
        yield code
        queue.extend(part for part in code.co_consts if isinstance(part, CodeType))

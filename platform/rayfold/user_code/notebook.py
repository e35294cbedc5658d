"""Classes that live in no file that could travel: those of a notebook, or made in a function."""

import inspect
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

import cloudpickle  # type: ignore[import-untyped]


def class_text(found: type) -> str | None:
    """Return the source of a class, and of the functions and classes beside it that it uses.

    Returns:
        The texts, sorted by name; None where Python does not know the class's own.
    """
    texts: dict[str, str] = {}
    if not _enter(found, texts):
        return None
    return "\n".join(texts[name] for name in sorted(texts))


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


def _enter(found: Any, texts: dict[str, str]) -> bool:
    """Enter the text of a class or function and of what it uses from its own module."""
    name = found.__qualname__
    if name in texts:
        return True
    text = _text(found)
    if text is None:
        return False
    texts[name] = text
    scope = vars(sys.modules.get(found.__module__, object))
    used = {part for code in _codes(found) for part in code.co_names}
    if isinstance(found, type):
        used |= {base.__name__ for base in found.__mro__}
    for part in sorted(used):
        value = scope.get(part)
        if isinstance(value, type | FunctionType) and value.__module__ == found.__module__:
            _enter(value, texts)
    return True


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

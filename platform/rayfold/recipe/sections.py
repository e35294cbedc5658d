"""Sections of a YAML document as pydantic models: their errors in one line, and overrides.

A section is a mapping with known keys. Below it lie other sections, lists of sections, single
values, and free mappings (``dict`` fields), whose keys are the user's own.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from rayfold.documents import read_yaml
from rayfold.errors import RecipeError, did_you_mean, nearest
from rayfold.space import values


class Section(BaseModel):
    """A mapping with known keys; a field's docstring is what its JSON schema says."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


def explain(error: ValidationError, root: type[Section]) -> str:
    """Return pydantic's errors in words, a line each.

    Unknown keys come before all else: a misspelt key is often missing under its right name, too,
    which is then not told again.

    Args:
        error: What pydantic raised.
        root: The model that was validated.
    """
    problems = sorted(
        error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden"
    )
    meant = {
        (*problem["loc"][:-1], close)
        for problem in problems
        if problem["type"] == "extra_forbidden"
        and (close := nearest(str(problem["loc"][-1]), _known(problem["loc"], root)))
    }
    lines = dict.fromkeys(
        f"{_explain_one(problem, root)}."
        for problem in problems
        if problem["type"] != "missing" or tuple(problem["loc"]) not in meant
    )
    return "\n".join(lines)


def _known(place: Sequence[str | int], root: type[Section]) -> tuple[str, ...]:
    return tuple(_section_of(place, root).model_fields)


def override(document: dict[str, Any], change: str, root: type[Section]) -> None:
    """Change a document in place, before it is validated.

    Args:
        document: The contents of ``root``, as ``read_yaml`` returns them.
        change: A dotted field and its value in YAML: ``"search.num_trials=20"``,
            ``"accept.0.at_least=0.9"``, ``"fixed.parameters.optimizer.name=adamw"``.
        root: The document's model.

    Raises:
        RecipeError: If ``root`` has no such field, or the value is not YAML.
    """
    source = f"override {change!r}"
    path, _, text = change.partition("=")
    keys = path.strip().split(".")
    if not text.strip() or not all(keys):
        raise RecipeError(f"{source}: write a field and its value, such as a.b=20.")
    value = read_yaml(text, source=source)
    try:
        _set(document, keys, value, root, ())
    except _NoSuchFieldError as error:
        raise RecipeError(f"{source}: {error}.") from None


def show(value: object) -> str:
    """Return a value as an error shows it, in 60 characters at most: null, true, 'text'."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else values.show(value)


_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "greater_than_equal": "at least {ge}",
    "greater_than": "above {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "below {lt}",
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
"""Kinds of pydantic's errors, and what was expected."""


def _explain_one(problem: Mapping[str, Any], root: type[Section]) -> str:
    kind, context, value = problem["type"], problem.get("ctx", {}), problem["input"]
    place = ".".join(map(_key, problem["loc"]))
    section = _section_of(problem["loc"], root)
    if kind == "extra_forbidden":
        return _unknown(place, section)
    if kind == "missing":
        what = section.model_fields[str(problem["loc"][-1])].description or "give it a value"
        return f"{place} is missing; {what[0].lower()}{what[1:].removesuffix('.')}"
    if kind == "value_error":
        return f"{place} {context['error']}".strip().removesuffix(".")
    if kind == "literal_error":
        allowed = tuple(re.findall(r"'(.*?)'", context["expected"]))
        hint = did_you_mean(str(value), allowed)
        return f"{place} must be {context['expected']}, got {show(value)}{hint}"
    if kind not in _EXPECTED:
        return f"{place}: {problem['msg']}, got {show(value)}"
    quotes = kind == "string_type" and isinstance(value, bool | int | float)
    return (
        f"{place} must be {_EXPECTED[kind].format(**context)}, got {show(value)}"
        f"{'; put it in quotes' if quotes else ''}"
    )


def _key(key: str | int) -> str:
    """Return a part of a place as it is, or in quotes where it could be misread."""
    return str(key) if re.fullmatch(r"[\w.-]+", str(key)) else show(key)


def _unknown(place: str, section: type[Section]) -> str:
    known = tuple(section.model_fields)
    hint = did_you_mean(place.rpartition(".")[2], known)
    return f"{place} is unknown{hint}; allowed here: {', '.join(known)}"


class _NoSuchFieldError(Exception):
    """The document has no place that an override names."""


def _set(
    holder: dict[str, Any],
    keys: Sequence[str],
    value: Any,
    section: type[Section],
    above: tuple[str, ...],
) -> None:
    """Set the field at ``keys`` below ``holder``, the contents of ``section``."""
    key, *rest = keys
    place = ".".join(map(_key, [*above, key]))
    if key not in section.model_fields:
        raise _NoSuchFieldError(_unknown(place, section))
    annotation = section.model_fields[key].annotation
    inner, levels = _section_in(annotation), _mapping_levels(annotation)
    if not rest:
        holder[key] = value
    elif inner is not None and get_origin(annotation) is tuple:
        entry = _entry(holder.get(key), rest, place)
        _set(entry, rest[1:], value, inner, (*above, key, rest[0]))
    elif inner is not None:
        if holder.get(key) is None:
            holder[key] = {}
        if not isinstance(holder[key], dict):
            raise _NoSuchFieldError(f"{place} is {show(holder[key])}, which has no fields")
        _set(holder[key], rest, value, inner, (*above, key))
    elif levels:
        holder[key] = _with_own_key(holder.get(key), rest, value, levels, place)
    else:
        raise _NoSuchFieldError(f"{place} is a single value; it has no {'.'.join(rest)!r}")


def _entry(entries: object, keys: Sequence[str], place: str) -> dict[str, Any]:
    """Return the mapping of a list that the first of ``keys`` counts, from 0."""
    entries = entries if isinstance(entries, list) else []
    if len(keys) < 2 or not keys[0].isdecimal():
        raise _NoSuchFieldError(f"{place} is a list; name an entry and its field: {place}.0.field")
    index = int(keys[0])
    if index >= len(entries) or not isinstance(entries[index], dict):
        raise _NoSuchFieldError(f"{place} has {len(entries)} entries, counted from 0, got {index}")
    entry: dict[str, Any] = entries[index]
    return entry


def _with_own_key(
    current: object, keys: Sequence[str], value: Any, levels: int, place: str
) -> dict[str, Any]:
    """Return a free mapping with one of its keys set.

    With one level (``fixed.parameters``) the keys together are one dotted name. With two levels
    (``search.searcher``) the first stands alone; text is short for a name without arguments.
    """
    if current is None:
        current = {}
    if isinstance(current, str) and levels > 1:
        current = {current: {}}
    if not isinstance(current, dict):
        raise _NoSuchFieldError(
            f"{place} is {show(current)}, which has no fields; override all of it"
        )
    if levels > 1 and len(keys) > 1:
        below = f"{place}.{keys[0]}"
        inner = _with_own_key(current.get(keys[0]), keys[1:], value, levels - 1, below)
        return {**current, keys[0]: inner}
    return {**current, ".".join(keys): value}


def _section_of(place: Sequence[str | int], root: type[Section]) -> type[Section]:
    """Return the section that holds the last part of a place."""
    section = root
    for key in place[:-1]:
        field = section.model_fields.get(str(key))
        section = (_section_in(field.annotation) if field else None) or section
    return section


def _section_in(annotation: Any) -> type[Section] | None:
    """Return the section that a field's annotation names, itself or as a list's entries."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)


def _mapping_levels(annotation: Any) -> int:
    """Return how many free mappings a field's annotation nests."""
    inner = max(map(_mapping_levels, get_args(annotation)), default=0)
    return inner + (get_origin(annotation) is dict)

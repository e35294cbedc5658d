"""Messages about wrong options: one line for each field."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic.fields import FieldInfo

from rayfold.errors import did_you_mean, nearest
from rayfold.space import values

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")

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
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "is_instance_of": "a list",
    "sequence_str": "a list",
    "model_type": "a mapping",
    "dataclass_type": "a mapping",
}
"""What was expected, by the kind of pydantic's error."""


def explain(error: ValidationError, root: type, *, above: str = "") -> str:
    """Return pydantic's errors as messages, one line each.

    Unknown keys come first. A misspelt key is often also missing under its right name; then only
    the unknown key is reported.

    Args:
        error: The error of pydantic.
        root: The options that were checked.
        above: The place of the options themselves.
    """
    problems: list[dict[str, Any]] = [
        {**problem, "loc": _place(problem["loc"], root)}
        for problem in error.errors(include_url=False)
    ]
    problems.sort(key=lambda problem: problem["type"] not in _UNKNOWN)
    meant = {
        (*problem["loc"][:-1], close)
        for problem in problems
        if problem["type"] in _UNKNOWN
        and (close := nearest(str(problem["loc"][-1]), _known(problem["loc"], root)))
    }
    lines = dict.fromkeys(
        f"{_explain_one(problem, root, above)}."
        for problem in problems
        if problem["type"] != "missing" or problem["loc"] not in meant
    )
    return "\n".join(lines)


def fields_of(kind: type) -> dict[str, FieldInfo]:
    """Return the fields of options by their names in a recipe."""
    if issubclass(kind, BaseModel):
        found: dict[str, FieldInfo] = kind.model_fields
    else:
        found = kind.__pydantic_fields__  # type: ignore[attr-defined]
    return {_name_in_recipe(name, field): field for name, field in found.items()}


def _name_in_recipe(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else name


def options_at(place: Sequence[str | int], root: type) -> type:
    """Return the options that contain the last part of a place."""
    kind = root
    for key in place[:-1]:
        field = fields_of(kind).get(str(key))
        kind = (options_in(field) if field else None) or kind
    return kind


def options_in(field: FieldInfo | Any) -> type | None:
    """Return the options in a field, or in the entries of its list."""
    if isinstance(field, FieldInfo):
        inputs = [getattr(mark, "json_schema_input_type", None) for mark in field.metadata]
        return next(filter(None, map(options_in, [field.annotation, *inputs])), None)
    if isinstance(field, type):
        is_options = hasattr(field, "__pydantic_fields__") and field is not BaseModel
        return field if is_options else None
    return next(filter(None, map(options_in, get_args(field))), None)


def show(value: object) -> str:
    """Return a value as errors show it, in at most 60 characters: null, true, 'text'."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else values.show(value)


def place_in_words(place: Sequence[str | int]) -> str:
    """Return a place as text; parts that could be misread are in quotes."""
    return ".".join(str(key) if re.fullmatch(r"[\w.-]+", str(key)) else show(key) for key in place)


def unknown(place: str, kind: type) -> str:
    """Return the message for an unknown field."""
    name = place.rpartition(".")[2]
    if instead := getattr(kind, "_moved", {}).get(name):
        return f"{place} is now {instead}"
    known = tuple(fields_of(kind))
    return f"{place} is unknown{did_you_mean(name, known)}; allowed here: {', '.join(known)}"


def _place(place: Sequence[str | int], root: type) -> tuple[str | int, ...]:
    """Return a place without pydantic's additions: numbers of arguments, branches of unions."""
    names = tuple(fields_of(root))
    if place and isinstance(place[0], int) and place[0] < len(names):
        return (names[place[0]], *place[1:])
    return tuple(place)


def _known(place: Sequence[str | int], root: type) -> tuple[str, ...]:
    return tuple(fields_of(options_at(place, root)))


def _explain_one(problem: Mapping[str, Any], root: type, above: str) -> str:
    kind, context, value = problem["type"], problem.get("ctx", {}), problem["input"]
    is_key = problem["loc"][-1:] == ("[key]",)
    loc = problem["loc"][:-2] if is_key else problem["loc"]
    place = ".".join(filter(None, [above, place_in_words(loc)]))
    holder = options_at(loc, root)
    if kind in _UNKNOWN:
        return unknown(place, holder)
    if kind == "unexpected_positional_argument":
        return f"{above or root.__name__} takes its further values by their names only"
    if kind == "missing":
        what = fields_of(holder)[str(loc[-1])].description or "give it a value"
        what = " ".join(what.split())
        if what[:2].istitle():  # and no abbreviation
            what = what[0].lower() + what[1:]
        return f"{place} is missing; {what.removesuffix('.')}"
    if kind == "value_error":
        return f"{place} {context['error']}".strip().removesuffix(".")
    if kind == "literal_error":
        allowed = tuple(re.findall(r"'(.*?)'", context["expected"]))
        hint = did_you_mean(str(value), allowed)
        return f"{place} must be {context['expected']}, got {show(value)}{hint}"
    if kind not in _EXPECTED:
        return f"{place}: {problem['msg']}, got {show(value)}"
    bounds = {  # 1, not 1.0
        name: int(bound) if isinstance(bound, float) and bound.is_integer() else bound
        for name, bound in context.items()
    }
    quotes = kind == "string_type" and isinstance(value, bool | int | float)
    return (
        f"{place} must {'have keys that are each' if is_key else 'be'} "
        f"{_EXPECTED[kind].format(**bounds)}, got {show(value)}"
        f"{'; put it in quotes' if quotes else ''}"
    )

"""Changes of single fields before a document is checked, such as ``search.num_trials=20``."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from rayfold.documents import read_yaml
from rayfold.errors import RecipeError
from rayfold.options.explain import fields_of, options_in, place_in_words, show, unknown


def override(document: dict[str, Any], change: str, root: type) -> None:
    """Change a document in place.

    Args:
        document: The contents of ``root``, as ``read_yaml`` returns them.
        change: A dotted field and its value in YAML: ``"search.num_trials=20"``,
            ``"accept.0.at_least=0.9"``, ``"fixed.parameters.optimizer.name=adamw"``.
        root: The options that the document holds.

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


class _NoSuchFieldError(Exception):
    """The document has no field with the name in an override."""


def _set(
    holder: dict[str, Any],
    keys: Sequence[str],
    value: Any,
    kind: type,
    above: tuple[str, ...],
) -> None:
    """Set the field at ``keys`` below ``holder``, the contents of ``kind``."""
    key, *rest = keys
    place = place_in_words([*above, key])
    field = fields_of(kind).get(key)
    if field is None:
        raise _NoSuchFieldError(unknown(place, kind))
    inner, levels = options_in(field), _mapping_levels(field)
    if not rest:
        holder[key] = value
    elif inner is not None and get_origin(field.annotation) is Sequence:
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
    """Return the mapping of a list at the index that is the first of ``keys``."""
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
    (``search.searcher``) the first key is a name; a text is a name without arguments.
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


def _mapping_levels(field: FieldInfo) -> int:
    """Return how many free mappings a field's value nests."""
    inputs = [getattr(mark, "json_schema_input_type", None) for mark in field.metadata]
    return max(map(_nesting, [field.annotation, *inputs]))


def _nesting(annotation: Any) -> int:
    inner = max(map(_nesting, get_args(annotation)), default=0)
    return inner + (get_origin(annotation) in (dict, Mapping))

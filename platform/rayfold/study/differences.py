"""Differences between a study now and when it began, as text for each field."""

from collections.abc import Iterator, Mapping
from typing import Any

_OF_DATA = ("task", "classes", "inputs", "labels", "num_outputs", "num_rows", "test")
"""Fields of a description that say how data differ, besides their digest."""


_CALLED = {"task": "task", "test": "holdout", "num_rows": "data.rows"}
"""What fields are called that are not options of the data."""


def differences(begun: Mapping[str, Any], present: Mapping[str, Any]) -> Iterator[str]:
    """Yield what has changed, a text for each: ``"epochs: 10 -> 20"``.

    Digests are never shown: changed data and folds are described in words.

    Args:
        begun: The study's description when it began.
        present: Its description now, with the fields to compare.
    """
    of_data = list(_of_data(begun, present))
    yield from of_data
    if not of_data and begun.get("fold_digest") != present.get("fold_digest"):
        yield from _of_folds(begun.get("folds") or {}, present.get("folds") or {})
    for field, now in present.items():
        if field not in (*_OF_DATA, "data_digest", "fold_digest", "folds", "num_folds"):
            before = begun.get(field)
            if before != now and field == "space":
                yield from _of_space(before or {}, now)
            elif before != now:
                yield from _of_values(field, before, now)


def _of_data(begun: Mapping[str, Any], present: Mapping[str, Any]) -> Iterator[str]:
    told = False
    for field in _OF_DATA:
        if begun.get(field) != present.get(field):
            told = True
            if field == "inputs":
                yield from _of_inputs(begun.get(field) or (), present.get(field) or ())
            else:
                name = _CALLED.get(field, f"data.{field}")
                yield from _of_values(name, begun.get(field), present.get(field))
    if not told and begun.get("data_digest") != present.get("data_digest"):
        yield "data: the same inputs, rows and classes, but other contents"


def _of_inputs(before: Any, now: Any) -> Iterator[str]:
    old = {entry["name"]: _in_words(entry) for entry in before}
    new = {entry["name"]: _in_words(entry) for entry in now}
    if old == new:
        yield "data.inputs: in another order"
    yield from _of_names("data.inputs.", old, new)


def _of_folds(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    told = list(_of_values("folds", before, now)) if before else []
    yield from told or ["folds: other rows in each (another version of Rayfold or scikit-learn?)"]


def _of_space(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    old = {name: _domain(domain) for name, domain in before.items()}
    new = {name: _domain(domain) for name, domain in now.items()}
    if old == new:
        yield "space: parameters in another order"
    yield from _of_names("", old, new)


def _of_names(prefix: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for name in dict.fromkeys([*old, *new]):
        if name not in new:
            yield f"{prefix}{name}: {old[name]} -> removed"
        elif name not in old:
            yield f"{prefix}{name}: added, {new[name]}"
        elif old[name] != new[name]:
            yield f"{prefix}{name}: {old[name]} -> {new[name]}"


def _of_values(name: str, before: Any, now: Any) -> Iterator[str]:
    """Yield the differing leaves of two values."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            if key not in now:
                yield f"{name}.{key}: {_plain(before[key])} -> removed"
            elif key not in before:
                yield f"{name}.{key}: added, {_plain(now[key])}"
            elif before[key] != now[key]:
                yield from _of_values(f"{name}.{key}", before[key], now[key])
    elif name.endswith(".digest"):
        yield f"{name.removesuffix('.digest')}: other contents"
    else:
        yield f"{name}: {_plain(before)} -> {_plain(now)}"


def _domain(domain: Mapping[str, Any]) -> str:
    """Return a domain as text: ``"32..512 (log)"``, ``"relu, gelu when model.deep is true"``."""
    kind = next(iter(domain))
    values = domain[kind]
    text = ", ".join(map(_plain, values)) if kind == "choice" else "..".join(map(_plain, values))
    if kind == "float":
        text += " (float)"
    if domain.get("log"):
        text += " (log)"
    for parent, wanted in (domain.get("when") or {}).items():
        either = wanted if isinstance(wanted, list) else [wanted]
        text += f" when {parent} is {' or '.join(map(_plain, either))}"
    return text


def _in_words(entry: Mapping[str, Any]) -> str:
    layout = f" (channels {entry['channels']})" if "channels" in entry else ""
    return f"{entry['dtype']} of shape {tuple(entry['shape'])}{layout}"


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_plain(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plain, value))}]"
    return str(value)

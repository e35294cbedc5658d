"""How alike two studies' data are, from what their descriptions say."""

import math
from dataclasses import dataclass

from rayfold.description import DataDescription

MAX_DISTANCE = 0.4
"""Studies further away are not alike."""

NUM_NEAREST = 3
"""So many alike studies are started from, at most."""


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far two studies' data are apart.

    Attributes:
        value: The mean of the terms, from 0 (alike) to 1; infinite where nothing can be compared.
        reason: The terms in words.
    """

    value: float
    reason: str


def distance(present: DataDescription, past: DataDescription) -> Distance:
    """Compare two studies' data.

    The same data are at distance 0, another task is infinitely far. Otherwise each of these
    counts from 0 to 1, and those that both descriptions have are averaged: a factor of 100 in
    ``rows`` and in ``features``, a factor of 16 in ``classes``, 4 bits of ``label_entropy``, and
    half of the scale of each landmark are 1. Studies from before descriptors were logged have
    rows, features and classes all the same.

    Args:
        present: Of the new study.
        past: Of an earlier one.
    """
    if present.task != past.task:
        return Distance(value=math.inf, reason=f"its task is {past.task}, not {present.task}")
    if present.digest == past.digest:
        return Distance(value=0.0, reason="the same data")
    new, old = _numbers(present), _numbers(past)
    terms = {name: _term(name, new[name], old[name]) for name in new if name in old}
    shown = (f"{name} {old[name]:g} and here {new[name]:g}" for name in terms)
    return Distance(value=sum(terms.values()) / len(terms), reason=", ".join(shown))


def _numbers(data: DataDescription) -> dict[str, float]:
    """Return the numbers that describe data, those of old studies from what is there."""
    logged = data.descriptors
    if logged is None:
        logged = {
            "rows": data.num_rows,
            "features": sum(math.prod(entry.shape) for entry in data.inputs),
            "classes": len(data.classes) if data.classes else None,
        }
    numbers = {name: logged.get(name) for name in ("rows", "features", "classes", "label_entropy")}
    numbers |= logged.get("landmarks") or {}
    return {name: float(value) for name, value in numbers.items() if value is not None}


def _term(name: str, one: float, other: float) -> float:
    if name in ("rows", "features"):
        return min(1.0, abs(math.log10(max(one, 1) / max(other, 1))) / 2)
    if name == "classes":
        return min(1.0, abs(math.log2(max(one, 1) / max(other, 1))) / 4)
    if name == "label_entropy":
        return min(1.0, abs(one - other) / 4)
    return min(1.0, 2 * abs(one - other))

"""Types of options: what each accepts, and its message when it refuses."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo

from rayfold.errors import RayfoldError
from rayfold.options.explain import show
from rayfold.results import MAX_COUNT, MAX_SEED, Value
from rayfold.space.values import plain_or_list, plain_value

_PARAMETER_NAME = r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*"


def _plain(value: object) -> object:
    """Return a number of NumPy, or a path, as a number or text of Python."""
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, PurePath) else value


def one_or_more_texts(value: object) -> tuple[str, ...]:
    """Return one text, or several different ones, as a tuple.

    Raises:
        ValueError: If it is anything else.
    """
    given = list(value) if isinstance(value, list | tuple) else [value]
    texts = [text for text in map(_plain, given) if isinstance(text, str) and text.strip()]
    if not texts or len(texts) < len(given):
        raise ValueError(f"must be text, or a list of one or more texts, got {show(value)}")
    if len(set(texts)) < len(texts):
        raise ValueError(f"must not name anything twice, got {show(value)}")
    return tuple(texts)


def _no_empty_list(value: object) -> object:
    # An empty tuple is a field's default.
    if value == [] and isinstance(value, list):
        raise ValueError("must not be empty; leave it out instead")
    return value


def _parameter_names(value: object) -> object:
    for name in value if isinstance(value, Mapping) else ():
        if not isinstance(name, str) or not re.fullmatch(_PARAMETER_NAME, name):
            raise ValueError(
                "must have names that are lower-case identifiers joined by dots, such as "
                f"model.dropout, got {show(name)}"
            )
    return value


def _value_or_class(value: object) -> object:
    return value if isinstance(value, type) else plain_or_list(value)


def _classes_for_names(values: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, value in values.items():
        if isinstance(value, type) and name not in ("optimizer.name", "schedule.name"):
            raise ValueError(f"must have plain values, got {show(value)} for {name}")
    return values


def made(make: Callable[[Any], object], accepts: Any = None) -> BeforeValidator:
    """Return a validator that makes a field's value from the given one.

    Args:
        make: Makes the value; its RayfoldError says what the value must be.
        accepts: Type of the given value, for the JSON schema; without one, the field's type.
    """

    def read(value: object) -> object:
        try:
            return make(value)
        except RayfoldError as error:
            text = str(error).removeprefix("a value ").removeprefix("a text ")
            raise ValueError(text.removesuffix(".")) from None

    if accepts is None:
        return BeforeValidator(read)
    return BeforeValidator(read, json_schema_input_type=accepts)


plain = BeforeValidator(_plain)
"""Converts numbers of NumPy and paths to numbers and texts of Python. It must be last, or the
JSON schema lacks the bounds beside it."""

Text = Annotated[str, Field(strict=True, min_length=1), plain]
"""Text that is not empty."""

_texts = PlainValidator(one_or_more_texts, json_schema_input_type=str | list[str])

Texts = Annotated[str | Sequence[str], _texts]
"""One text, or a list of different ones; kept as a tuple."""

Paths = Annotated[str | Path | Sequence[str | Path], _texts]
"""One path, or a list of different ones; kept as a tuple of texts."""

Flag = Annotated[bool, Field(strict=True)]
"""True or false."""

Whole = Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT), plain]
"""A whole number from 0 on."""

Count = Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT), plain]
"""A whole number from 1 on."""

Plural = Annotated[int, Field(strict=True, ge=2, le=MAX_COUNT), plain]
"""A whole number from 2 on."""

Seed = Annotated[int, Field(strict=True, ge=0, le=MAX_SEED), plain]
"""A seed that every generator of random numbers accepts."""

Number = Annotated[float, Field(strict=True), plain]
"""A finite number."""

Seconds = Annotated[float, Field(strict=True, gt=0, le=MAX_COUNT), plain]
"""A length of time above 0."""

Strength = Annotated[float, Field(strict=True, ge=0, le=MAX_COUNT), plain]
"""A number from 0 on."""

Fraction = Annotated[float, Field(strict=True, gt=0, lt=1), plain]
"""A number between 0 and 1."""

BelowOne = Annotated[float, Field(strict=True, ge=0, lt=1), plain]
"""A number from 0 to below 1."""

Share = Annotated[float, Field(strict=True, ge=0, le=1), plain]
"""A number from 0 to 1."""

SomeShare = Annotated[float, Field(strict=True, gt=0, le=1), plain]
"""A number above 0, at most 1."""

Parameters = Annotated[
    Mapping[str, Annotated[Any, made(_value_or_class, Value | list[Any] | None)]],
    BeforeValidator(_parameter_names),
    AfterValidator(_classes_for_names),
]
"""Dotted names of hyperparameters, each with a fixed value: plain, or a list; for an optimiser or
a schedule also its class."""

as_tuple = AfterValidator(tuple)
"""Keeps a list as a tuple."""

ValueLists = Mapping[
    str,
    Annotated[
        Sequence[Annotated[Value, made(plain_value)]], BeforeValidator(_no_empty_list), as_tuple
    ],
]
"""Names, each with a list of one or more values."""


def alone(kind: type, field: str, short: Any) -> BeforeValidator:
    """Return a validator that accepts the value of one field in place of the options.

    Args:
        kind: The options.
        field: The field.
        short: Type of the value.
    """
    return BeforeValidator(
        lambda value: value if isinstance(value, Mapping | kind) else {field: value},
        json_schema_input_type=kind | short,
    )


def named(kind: str, example: str, make: Callable[..., object]) -> Any:
    """Return a validator for a name, or a mapping of one name to its arguments.

    Args:
        kind: Kind of thing that is named, for errors.
        example: Example of a name with arguments.
        make: Returns the object of a name and its arguments, or raises RayfoldError. It takes
            ``base``, the folder that references to files start from.
    """

    def read(value: object, info: ValidationInfo) -> object:
        if value is None or not isinstance(value, str | Mapping | list | int | float):
            return value  # the object itself
        name, arguments = _name_and_arguments(value, kind, example)
        try:
            return make(name, arguments, base=(info.context or {}).get("base"))
        except RayfoldError as error:
            raise ValueError(f"is wrong: {error}") from None

    return BeforeValidator(read, json_schema_input_type=str | dict[str, dict[str, Any]] | None)


def _name_and_arguments(value: object, kind: str, example: str) -> tuple[str, dict[str, Any]]:
    if isinstance(value, str) and value:
        return value, {}
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ValueError(
            f"must be the name of one {kind}, or that name with its arguments such as "
            f"{example}, got {show(value)}"
        )
    ((name, arguments),) = value.items()
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, Mapping) or not all(isinstance(key, str) for key in arguments):
        raise ValueError(f"must map {name} to its arguments, got {show(arguments)}")
    for key, argument in arguments.items():
        if isinstance(argument, float) and not math.isfinite(argument):
            raise ValueError(f"must have finite numbers, got {name} {key} {show(argument)}")
    return str(name), dict(arguments)


refuse_empty_list = BeforeValidator(_no_empty_list)
"""Marks a list that may be left out but must not be empty."""

refuse_strange_names = BeforeValidator(_parameter_names)
"""Marks a mapping whose keys are parameters' names."""

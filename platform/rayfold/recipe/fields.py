"""Types of a recipe's fields: what each accepts, and what it says when it refuses."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from rayfold.errors import SpaceError, did_you_mean
from rayfold.recipe.sections import Section, show
from rayfold.results import MAX_COUNT, Value
from rayfold.space import SearchSpace
from rayfold.tasks import TASKS

_PARAMETER_NAME = r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*"
_STUDY_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def study_name(name: str) -> str:
    """Return a study's name, which is also that of its folder.

    Raises:
        ValueError: If it cannot be one; the message goes on after the name of the field.
    """
    if not re.fullmatch(_STUDY_NAME, name):
        raise ValueError(
            "must be 1 to 100 letters, digits, dots, dashes and underscores, the first of them a "
            f"letter or a digit, got {show(name)}"
        )
    return name


def _one_or_more_texts(value: object) -> object:
    texts = value if isinstance(value, list | tuple) else [value]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"must be text, or a list of one or more texts, got {show(value)}")
    if len(set(texts)) < len(texts):
        raise ValueError(f"must not name anything twice, got {show(value)}")
    return tuple(texts) if isinstance(value, list) else value


def _no_empty_list(value: object) -> object:
    # An empty tuple is the default, which a dump of a recipe may hold.
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


def _scalar(value: object) -> object:
    if isinstance(value, Mapping):
        raise ValueError(
            f"must be one value, got {show(value)}; write its name with dots: "
            "optimizer.name, not a mapping in a mapping"
        )
    if type(value) not in (bool, int, float, str):
        raise ValueError(f"must be true, false, a number or text, got {show(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"must be finite, got {show(value)}")
    return value


def _scalar_or_list(value: object) -> object:
    if value is None or not isinstance(value, list | tuple):
        return value if value is None else _scalar(value)
    return [_scalar_or_list(entry) for entry in value]


def _named(kind: str, example: str) -> BeforeValidator:
    """Return what reads a name, or a mapping of that one name to its arguments."""

    def read(value: object) -> object:
        if isinstance(value, str) and value:
            return value
        if not isinstance(value, Mapping) or len(value) != 1:
            raise ValueError(
                f"must be the name of one {kind}, or that name with its arguments such as "
                f"{example}, got {show(value)}"
            )
        ((name, arguments),) = value.items()
        arguments = {} if arguments is None else arguments
        if not isinstance(arguments, Mapping) or not all(
            isinstance(key, str) for key in arguments
        ):
            raise ValueError(f"must map {name} to its arguments, got {show(arguments)}")
        for key, argument in arguments.items():
            if isinstance(argument, float) and not math.isfinite(argument):
                raise ValueError(f"must have finite numbers, got {name} {key} {show(argument)}")
        return {name: dict(arguments)}

    return BeforeValidator(read)


def _space(value: object) -> object:
    if isinstance(value, str) and value:
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a name, a path or the space itself, got {show(value)}")
    try:
        return SearchSpace.from_dict(value).to_dict()
    except SpaceError as error:
        raise ValueError(f"is wrong: {error}") from None


def _task(value: str) -> str:
    if value not in TASKS:
        known = " or ".join(map(repr, TASKS))
        hint = did_you_mean(value, [*TASKS])
        raise ValueError(f"must be {known}, got {value!r}{hint}")
    return value


Text = Annotated[str, Field(strict=True, min_length=1)]
"""Text that is not empty."""

Texts = Annotated[str | tuple[str, ...], BeforeValidator(_one_or_more_texts)]
"""One text, or a list of different ones."""

Count = Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT)]
"""A whole number from 1 on."""

Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]
"""What every generator of random numbers takes as its seed."""

Number = Annotated[float, Field(strict=True)]
"""A finite number."""

Seconds = Annotated[Number, Field(gt=0, le=MAX_COUNT)]
"""A length of time above 0."""

StudyName = Annotated[
    Text, AfterValidator(study_name), Field(json_schema_extra={"pattern": f"^{_STUDY_NAME}$"})
]
"""A study's name, which is also the name of its folder."""

TaskName = Annotated[Text, AfterValidator(_task), Field(json_schema_extra={"enum": [*TASKS]})]
"""A task's name."""

Parameters = Annotated[
    dict[str, Annotated[Value | list[Any] | None, BeforeValidator(_scalar_or_list)]],
    BeforeValidator(_parameter_names),
]
"""Hyperparameters' dotted names, each with a value that is not searched: plain, or a list."""

ValueLists = dict[
    str,
    Annotated[
        tuple[Annotated[Value, BeforeValidator(_scalar)], ...], BeforeValidator(_no_empty_list)
    ],
]
"""Names, each with a list of one or more values."""

SearcherName = Annotated[
    str | dict[str, dict[str, Any]], _named("searcher", "{genetic: {population: 16}}")
]
"""A searcher's name, or a mapping of that one name to arguments."""

SchedulerName = Annotated[
    str | dict[str, dict[str, Any]], _named("scheduler", "{racing: {rule: paired}}")
]
"""A scheduler's name, or a mapping of that one name to arguments."""

SpaceName = Annotated[str | dict[str, Any], BeforeValidator(_space)]
"""The name or path of a search space, or the space as plain values."""


def names_alone(section: type[Section], field: str) -> BeforeValidator:
    """Return what lets texts stand for a section that holds them in ``field`` alone."""
    return BeforeValidator(
        lambda value: value if isinstance(value, Mapping | section) else {field: value},
        json_schema_input_type=section | str | list[str],
    )


def number_alone(section: type[Section], field: str) -> BeforeValidator:
    """Return what lets a number stand for a section that holds it in ``field`` alone."""
    return BeforeValidator(
        lambda value: value if isinstance(value, Mapping | section) else {field: value},
        json_schema_input_type=section | int,
    )


refuse_empty_list = BeforeValidator(_no_empty_list)
"""Marks a list that may be left out, but not be empty."""

refuse_strange_names = BeforeValidator(_parameter_names)
"""Marks a mapping whose keys are parameters' names."""

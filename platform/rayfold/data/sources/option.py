"""Sources by name or reference, as an option of a study."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PlainValidator, TypeAdapter, ValidationInfo

from rayfold.data.sources.base import Source
from rayfold.data.sources.hdf5 import HDF5, MOVED
from rayfold.options.fields import named
from rayfold.registry import Registry

SOURCES = Registry[Source]("source", "rayfold.data:Source", {"hdf5": HDF5}, moved=MOVED)
"""The sources by their names in recipes."""

_EXAMPLE = '{"./rows.py:Rows": {num_rows: 500}}'
_NAMED = named("source", _EXAMPLE, SOURCES.create)
_FILES: TypeAdapter[HDF5] = TypeAdapter(HDF5)


def _read(value: object, info: ValidationInfo) -> object:
    """Return a source from an object, from a name or a reference, or from the fields of HDF5."""
    if isinstance(value, Source):
        return value
    if isinstance(value, type) and issubclass(value, Source):
        raise ValueError(f"must be an object, got a class; write {value.__name__}(...)")
    if isinstance(value, Mapping) and not value:
        raise ValueError(
            "must name HDF5 files, such as {hdf5: data.h5}, or a source, such as "
            f"{_EXAMPLE}, got {{}}"
        )
    by_name = isinstance(value, Mapping) and any(
        isinstance(arguments, Mapping) or ":" in str(name) for name, arguments in value.items()
    )
    for name in value if isinstance(value, Mapping) and by_name else ():
        if name in MOVED:
            raise ValueError(f"is wrong: {name} is now {MOVED[name]}")
    if by_name or (isinstance(value, str) and ":" in value):
        return _NAMED.func(value, info)
    return _FILES.validate_python(value)


_Reference = Annotated[str, Field(pattern=":")]

DataOption = Annotated[
    Source,
    PlainValidator(
        _read, json_schema_input_type=HDF5 | _Reference | dict[str, dict[str, Any] | None]
    ),
]
"""A source: an object, a name or reference with its arguments, or the fields of HDF5."""

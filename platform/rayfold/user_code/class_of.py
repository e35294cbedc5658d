"""Classes of the user's own by reference, checked for what they are."""

from typing import Any

from rayfold.errors import ModelError
from rayfold.user_code.source import Source


def load_class(source: Source, base_class: type) -> Any:
    """Import what a source names.

    Raises:
        ModelError: If it cannot be imported, or is no subclass of ``base_class``.
    """
    from rayfold.isolation import isolated, own_generators  # PyTorch

    try:
        with own_generators(0), isolated():  # what its file draws and sets at import, too
            found = source.load()
    except AttributeError:
        raise ModelError(
            f"{source.what} {source.reference!r}: {source.reference.rpartition(':')[0]} has no "
            f"{source.name!r}."
        ) from None
    if not isinstance(found, type) or not issubclass(found, base_class):
        raise ModelError(
            f"{source.what} {source.reference!r} must be a subclass of "
            f"{base_class.__module__}.{base_class.__name__}."
        )
    return found

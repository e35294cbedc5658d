"""Names of earlier studies in options."""

from rayfold.errors import RayfoldError


def study_names(
    field: str, given: object, *, error: type[RayfoldError], otherwise: str = ""
) -> tuple[str, ...]:
    """Return the names or ids that a field holds: one, or a list of different ones.

    Args:
        field: Name of the field for messages.
        given: Its value.
        error: The error to raise if it holds no name, a repeated one, or something else.
        otherwise: What else it may be, for the message.
    """
    names = [given] if isinstance(given, str) else given
    if (
        not isinstance(names, list | tuple)
        or not names
        or not all(isinstance(name, str) and name for name in names)
    ):
        also = f", or {otherwise}" if otherwise else ""
        raise error(f"{field} must be one or more names of studies{also}, not {given!r}.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise error(f"{field} names {twice[0]!r} twice; name each study once.")
    return tuple(names)

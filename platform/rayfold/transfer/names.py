"""How earlier studies are named."""

from rayfold.errors import RecipeError


def study_names(field: str, given: object, *, otherwise: str) -> tuple[str, ...]:
    """Return the names or ids that a field holds: one, or a list of different ones.

    Args:
        field: What messages call it.
        given: Its value.
        otherwise: What else it may be, for the message.

    Raises:
        RecipeError: If it holds none, one twice, or something else.
    """
    names = [given] if isinstance(given, str) else given
    if (
        not isinstance(names, list | tuple)
        or not names
        or not all(isinstance(name, str) and name for name in names)
    ):
        raise RecipeError(
            f"{field} must be one or more names of studies, or {otherwise}, not {given!r}."
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise RecipeError(f"{field} names {twice[0]!r} twice; name each study once.")
    return tuple(names)

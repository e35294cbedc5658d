"""Search spaces in YAML files."""

from pathlib import Path

from rayfold.documents import read_file
from rayfold.errors import RecipeError, SpaceError
from rayfold.space.space import SearchSpace


def load_space(path: str | Path) -> SearchSpace:
    """Read a search space from a YAML file.

    Raises:
        SpaceError: If the file cannot be read, or is not a search space.
        RecipeError: If the file is not YAML.
    """
    path = Path(path)
    try:
        text = read_file(path, "search space")
    except RecipeError as error:
        raise SpaceError(str(error)) from None
    return SearchSpace.from_yaml(text, source=str(path))

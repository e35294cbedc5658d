"""Search spaces in YAML files."""

from pathlib import Path

from rayfold.errors import SpaceError
from rayfold.space.space import SearchSpace


def load_space(path: str | Path) -> SearchSpace:
    """Read a search space from a YAML file.

    Raises:
        SpaceError: If the file cannot be read, or describes no search space.
        RecipeError: If the file is not YAML.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SpaceError(f"{path}: cannot read the search space: {reason}.") from None
    except UnicodeDecodeError:
        raise SpaceError(f"{path}: a search space is UTF-8 text, and this file is not.") from None
    return SearchSpace.from_yaml(text, source=str(path))

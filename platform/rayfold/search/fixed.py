"""Fixed configurations: the given ones are tried, without a search."""

from collections.abc import Mapping, Sequence
from typing import Any

from rayfold.errors import RecipeError, SpaceError
from rayfold.results import Config
from rayfold.search.base import Observation, Searcher
from rayfold.space import SearchSpace, plain_config


class Fixed(Searcher):
    """Proposes the given configurations, one after another.

    Args:
        configs: Configurations of the space, at least one.

    Raises:
        RecipeError: If there is none, or one is not a mapping.
    """

    opens_with_past = False
    learns = False

    def __init__(self, configs: Sequence[Config]) -> None:
        listed = isinstance(configs, list | tuple) and configs
        if not listed or not all(isinstance(config, Mapping) for config in configs):
            raise RecipeError(f"configs must be a list of configurations, got {configs!r}.")
        self.configs = tuple(self._plain(number, config) for number, config in enumerate(configs))

    @staticmethod
    def _plain(number: int, config: Config) -> Config:
        try:
            return plain_config(config)
        except SpaceError as error:
            raise SpaceError(f"configs[{number}]: {error}") from None

    def settings(self) -> dict[str, Any]:
        """Return ``{"fixed": {"configs": [{...}, ...]}}``."""
        return {"fixed": {"configs": [dict(config) for config in self.configs]}}

    @property
    def capacity(self) -> int:
        """Number of given configurations."""
        return len(self.configs)

    def check(self, space: SearchSpace) -> None:
        """Check that all configurations belong to a space.

        Raises:
            SpaceError: If one does not; the message gives its index from 0.
        """
        for number, config in enumerate(self.configs):
            try:
                space.check(config)
            except SpaceError as error:
                raise SpaceError(f"configs[{number}]: {error}") from None

    def _begin(self) -> None:
        self.check(self.space)

    def _propose(self) -> Config:
        return self.configs[len(self._suggestions)]

    def _learn(self, observation: Observation) -> None:
        """Do nothing: scores do not matter."""

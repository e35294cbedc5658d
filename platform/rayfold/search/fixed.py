"""Fixed configurations: nothing is searched, what is given is tried."""

from collections.abc import Mapping, Sequence
from typing import Any

from rayfold.errors import RecipeError
from rayfold.results import Config
from rayfold.search.base import Observation, Searcher


class Fixed(Searcher):
    """Proposes the given configurations, one after another.

    Args:
        configs: Configurations of the space, at least one.

    Raises:
        RecipeError: If there is none, or one is no mapping.
    """

    def __init__(self, configs: Sequence[Config]) -> None:
        listed = isinstance(configs, list | tuple) and configs
        if not listed or not all(isinstance(config, Mapping) for config in configs):
            raise RecipeError(f"configs must be a list of configurations, got {configs!r}.")
        self._configs = tuple(dict(config) for config in configs)

    def settings(self) -> dict[str, Any]:
        """Return ``{"fixed": {"configs": [{...}, ...]}}``."""
        return {"fixed": {"configs": [dict(config) for config in self._configs]}}

    @property
    def capacity(self) -> int:
        """As many as were given."""
        return len(self._configs)

    def _begin(self) -> None:
        for config in self._configs:
            self.space.check(config)

    def _propose(self) -> Config:
        return self._configs[len(self._suggestions)]

    def _learn(self, observation: Observation) -> None:
        """Learn nothing."""

"""A study's head start: configurations and weights of earlier studies, or of its parts."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from rayfold.data import DataSet, FoldPlan
from rayfold.description import DataDescription
from rayfold.errors import TrackingError
from rayfold.events import PastTaken, WeightsTaken
from rayfold.journal import Entry, Journal
from rayfold.results import Config
from rayfold.search import Past
from rayfold.space import SearchSpace
from rayfold.study.result import StudyResult
from rayfold.transfer.requests import InitialWeights, StartFrom
from rayfold.transfer.start import Start, find_start, start_from_parts
from rayfold.transfer.weights import FoundWeights, find_weights

logger = logging.getLogger(__name__)


class HeadStart:
    """What a study takes from others; read from MLflow once and then kept.

    A study that has begun uses its journal, even if MLflow has changed.

    Args:
        start_from: The studies whose configurations are taken; None: none.
        initial_weights: The studies whose weights are taken; None: none.
        data: The data of the study.
        describe_data: Returns what the data are; finding their descriptors takes a second.
        plan: The study's folds.
        model_class: Its model.
        space: Its search space.
        parameters: Its fixed values.
        storage: Folder of all studies.
        folder: The study's own folder.
    """

    def __init__(
        self,
        *,
        start_from: StartFrom | None,
        initial_weights: InitialWeights | None,
        data: DataSet,
        describe_data: Callable[[], DataDescription],
        plan: FoldPlan,
        model_class: type[nn.Module],
        space: SearchSpace,
        parameters: Config,
        storage: Path,
        folder: Path,
    ) -> None:
        self._start_from, self._initial_weights = start_from, initial_weights
        self._data, self._describe_data, self._plan = data, describe_data, plan
        self._model_class, self._space, self._parameters = model_class, space, parameters
        self._storage, self._folder = storage, folder
        self._start: Start | None = None
        self._weights: FoundWeights | None = None

    def start(self, entries: Sequence[Entry]) -> Start:
        """Return the earlier configurations that the search starts from.

        Args:
            entries: The study's journal.

        Raises:
            RecipeError: If the search cannot start from a requested study.
            TrackingError: If MLflow cannot be read.
        """
        for entry in entries:
            if isinstance(event := entry.read(), PastTaken):
                return Start.from_dict(event.taken)
        if self._start is None and self._start_from is None:
            return Start(past=Past(), space=self._space)
        if self._start is None:
            assert self._start_from is not None
            self._start = find_start(
                self._start_from, self._space, self._describe_data(), storage=self._storage
            )
        return self._start

    def weights(self, entries: Sequence[Entry]) -> FoundWeights | None:
        """Return the weights that trials begin with; None: all begin cold.

        Args:
            entries: The study's journal.

        Raises:
            RecipeError: If a requested study cannot be used.
            TrackingError: If MLflow cannot be read.
        """
        for entry in entries:
            if isinstance(event := entry.read(), WeightsTaken):
                kept = FoundWeights.from_dict(event.taken)
                kept.check_kept(self._folder)
                return kept
        if self._weights is None and self._initial_weights is not None:
            self._weights = self._read_weights(self._initial_weights)
        return self._weights

    def take_from_parts(self, parts: Sequence[StudyResult], *, configurations: bool) -> None:
        """Take the results of the parts, unless other studies are requested.

        Call it when the parts have ended and are uploaded to MLflow.

        Args:
            parts: The results of the parts' studies.
            configurations: Whether the searcher can use configurations of others.
        """
        if parts and configurations and self._start_from is None:
            trials = {part.name: part.trials for part in parts}
            self._start = start_from_parts(trials, self._space, parts[0].mode)
        primed_by = [part.name for part in parts if part.best is not None]
        if primed_by and self._initial_weights is None:
            try:
                self._weights = self._read_weights(InitialWeights(primed_by))
            except TrackingError as error:
                logger.warning("Trials begin cold: %s", error)

    def write(self, journal: Journal, entries: Sequence[Entry], *, takes_past: bool) -> None:
        """Write to the journal what is not there yet, and copy the weights.

        Args:
            journal: The study's journal.
            entries: Its entries.
            takes_past: Whether the study requests configurations of others; then the journal also
                records that there were none.
        """
        start, weights = self.start(entries), self.weights(entries)
        written = {entry.event for entry in entries}
        if takes_past and PastTaken.event not in written:
            journal.record(PastTaken(start.to_dict()))
            for line in start.lines:
                logger.info("starts from %s", line)
        if weights is not None and WeightsTaken.event not in written:
            weights.keep(self._folder)
            journal.record(WeightsTaken(weights.to_dict()))
            for line in weights.lines:
                logger.info("begins with %s", line)

    def _read_weights(self, wanted: InitialWeights) -> FoundWeights:
        return find_weights(
            wanted,
            data=self._data,
            plan=self._plan,
            model_class=self._model_class,
            space=self._space,
            parameters=self._parameters,
            storage=self._storage,
        )

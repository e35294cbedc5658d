"""The thread that brings studies' journals to MLflow, and never holds up training."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from rayfold.journal import JournalReader
from rayfold.study_folder import StudyFolder
from rayfold.tracking.mirror import StudyMirror
from rayfold.tracking.store import (
    StoreError,
    describe,
    experiment_name,
    open_store,
    without_password,
)

logger = logging.getLogger(__name__)

_INTERVAL_S = 1.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_QUIET_S = {True: 2.0, False: 15.0}
"""How long it is waited in silence, by whether the store is out of reach; MLflow is slow."""


class Uploader:
    """Follow the journals of one or more studies and log what is new, in a daemon thread.

    Nothing that goes wrong in it reaches the study. While the store is out of reach it tries
    again with growing pauses, and tells this once, and once that the store is back. A store that
    waiting does not mend is told once, too, and left to the next uploader. Its place is
    kept by the tags of the runs: a new uploader, in another process too, goes on from there.

    Args:
        folders: Of a study or of several: each holds ``journal.jsonl`` and the files that fold
            results name.
        uri: MLflow's tracking URI.
        artifacts: Where a new experiment keeps artifacts if no server decides it.
    """

    def __init__(self, folders: Path | Sequence[Path], uri: str, artifacts: Path):
        self._folders = [folders] if isinstance(folders, Path) else list(folders)
        self._uri = uri
        self._artifacts = artifacts
        self._nudged = threading.Event()
        self._finishing = threading.Event()
        self._abandoned = threading.Event()
        self._everything_uploaded = False
        self._out_of_reach = False
        self._thread = threading.Thread(target=self._run, name="rayfold-uploader", daemon=True)

    def start(self) -> Self:
        """Start the thread; return the uploader."""
        self._thread.start()
        return self

    def notify(self) -> None:
        """Say that the journal has grown, so that the upload need not wait for its next turn."""
        self._nudged.set()

    def finish(self, timeout_s: float) -> bool:
        """Upload what the journal holds now, and end the thread.

        Args:
            timeout_s: How long to wait, seconds; then the rest is left to the next uploader. A
                wait of more than a moment is told.

        Returns:
            Whether everything is uploaded.
        """
        self._finishing.set()
        self._nudged.set()
        quiet_s = min(_QUIET_S[self._out_of_reach], timeout_s)
        self._thread.join(quiet_s)
        if self._thread.is_alive() and timeout_s > quiet_s:
            logger.warning(
                "Waiting for MLflow at %s%s to take the rest, for %d s at most; all is in the "
                "journal, and Ctrl-C leaves the upload to the next run.",
                without_password(self._uri),
                ", which is out of reach," if self._out_of_reach else "",
                timeout_s,
            )
            self._thread.join(timeout_s - quiet_s)
        self._abandoned.set()
        return self._everything_uploaded

    def _run(self) -> None:
        mirrors: list[tuple[JournalReader, StudyMirror]] = []
        pause = _FIRST_PAUSE_S
        place = without_password(self._uri)
        while not self._abandoned.is_set():
            finishing = self._finishing.is_set()
            self._nudged.clear()
            try:
                mirrors = mirrors or self._open_mirrors()
                for reader, mirror in mirrors:
                    mirror.apply(reader.new_entries())
            except StoreError as error:
                logger.warning("%s The study continues; run it again to upload it.", error)
                return
            except Exception as error:  # whatever it is, the study goes on
                logger.debug("uploading to %s failed", place, exc_info=True)
                was_known, self._out_of_reach = self._out_of_reach, True
                if not was_known:
                    logger.warning(
                        "MLflow at %s is out of reach (%s); the study continues without it.",
                        place,
                        describe(error),
                    )
                mirrors = []  # what reached the store is unknown: look again, from the start
                (self._abandoned if finishing else self._finishing).wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            else:
                if self._out_of_reach:
                    logger.warning("MLflow at %s is back; all is uploaded.", place)
                self._out_of_reach = False
                pause = _FIRST_PAUSE_S
                if finishing:
                    self._everything_uploaded = True
                    return
                self._nudged.wait(_INTERVAL_S)

    def _open_mirrors(self) -> list[tuple[JournalReader, StudyMirror]]:
        client = open_store(self._uri)
        return [
            (
                JournalReader(StudyFolder(folder).journal),
                StudyMirror(client, experiment_name(), self._artifacts, folder),
            )
            for folder in self._folders
        ]

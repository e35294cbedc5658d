"""The thread that uploads studies' journals to MLflow and never delays training."""

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
"""Seconds of waiting without a message, by whether the store is out of reach; MLflow is slow."""


class Uploader:
    """Follow the journals of one or more studies and log new entries, in a daemon thread.

    Its errors never reach the study. While the store is out of reach, it tries again with growing
    pauses. It logs once that the store is out of reach, and once that it is back. A permanent
    fault of the store is logged once, and the upload is left to the next uploader. The tags of the
    runs record what is uploaded, so a new uploader in any process continues from there.

    Args:
        folders: Folders of one or more studies, with ``journal.jsonl`` and the files of the folds.
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
        """Report that the journal has grown, so that the upload begins at once."""
        self._nudged.set()

    def finish(self, timeout_s: float) -> bool:
        """Upload the present journal, and end the thread.

        Args:
            timeout_s: Longest wait in seconds; the rest is left to the next uploader. A longer
                wait is logged.

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

"""The layout of a study's folder: its journal, its code and its trials."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rayfold.errors import RecipeError
from rayfold.machine import machine_fault

TRIALS = "trials"
CODE = "code"
SEEN_ROWS = "seen_rows.safetensors"
JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class StudyFolder:
    """Where a study keeps its files.

    ::

        journal.jsonl            all events, see ``rayfold.journal``
        seen_rows.safetensors    which rows each fold's model has seen
        code/DIGEST/             the text of the model, by its digest
        trials/TRIAL/fold_N/     weights, predictions, result and checkpoints of a fold
        ray/                     files that exist only during a run

    Attributes:
        path: The folder itself.
    """

    path: Path

    @property
    def journal(self) -> Path:
        """The journal."""
        return self.path / JOURNAL

    @property
    def seen_rows(self) -> Path:
        """Which rows each fold's model has seen."""
        return self.path / SEEN_ROWS

    @property
    def trials(self) -> Path:
        """The folders of trials."""
        return self.path / TRIALS

    @property
    def scratch(self) -> Path:
        """Folder of files that exist only during a run."""
        return self.path / "ray"

    def code(self, digest: str) -> Path:
        """Return the folder of a model's text.

        Args:
            digest: SHA-256 of the text, in hexadecimal.
        """
        return self.path / CODE / digest[:12]

    def check(self) -> None:
        """Check that a study can be stored here; the folder need not exist yet.

        Raises:
            RecipeError: If it cannot be written, or holds trials without a journal.
        """
        folder = self.path
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise RecipeError(
                f"{folder}: the study's folder cannot be made, since {there} is no folder that "
                "can be written; choose another storage."
            )
        try:
            tempfile.TemporaryFile(dir=there).close()  # root may write where no file can be
        except OSError as error:
            if machine_fault(error, there) is None:
                raise RecipeError(
                    f"{folder}: the study's folder cannot be made, since {there} takes no files "
                    f"({error.strerror}); choose another storage."
                ) from None
        if self.trials.exists() and not self.journal.exists():
            raise RecipeError(
                f"{folder} holds trials but no journal; move it away or choose another study name."
            )

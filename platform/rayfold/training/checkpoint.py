"""Checkpoints of one fold: written by rank 0, named by epoch, whole or not at all.

There are two kinds. Ordinary checkpoints are written every few seconds, so that little is lost
with a worker, and replace each other quickly. *Milestones* are written when a job asks for
them. All folds of a trial have them at the same epochs, so that another trial may copy them.

A state that was copied for a restart has a note beside it (``ShrinkAndPerturb``), which counts
only for that milestone.
"""

import contextlib
import dataclasses
import errno
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from rayfold.storage import replacing

logger = logging.getLogger(__name__)

KEPT = 2
"""Number of checkpoints of each kind that are kept: the newest, and the one before it.

So a milestone that others may copy exists until all folds have written the next one.
"""

_NOTE = "restart.json"

_FIELDS = frozenset({"generators", "history"})

_NAME = re.compile(r"(epoch|milestone)_(\d{5})\.pt")


def checkpoint_path(folder: Path, epoch: int, *, milestone: bool = False) -> Path:
    """Return the file for the state after ``epoch`` epochs."""
    return folder / f"{'milestone' if milestone else 'epoch'}_{epoch:05d}.pt"


def save_checkpoint(
    folder: Path, epoch: int, state: dict[str, Any], *, milestone: bool = False
) -> Path:
    """Write a state, then remove all but the newest checkpoints of its kind.

    Args:
        folder: The fold's folder; it is created if it is missing.
        epoch: Epochs trained so far.
        state: Tensors and plain values.
        milestone: Whether a job has requested it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = checkpoint_path(folder, epoch, milestone=milestone)
    with replacing(path) as temporary:
        torch.save(state, temporary)
    kind = path.name.partition("_")[0]
    same_kind = [other for other in _checkpoints(folder) if other.name.startswith(kind)]
    for old in same_kind[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a state; only tensors and plain values are unpickled."""
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def readable_checkpoint(path: Path, device: torch.device) -> dict[str, Any] | None:
    """Read a state; if the file is damaged, such as empty or cut off, warn and return None.

    Raises:
        OSError: If the file system fails; the file may be undamaged.
    """
    try:
        state = load_checkpoint(path, device)
        if missing := _FIELDS - state.keys():
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    except Exception as error:  # of many kinds: what damaged files make of pickles
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # PyTorch's for cut files
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        logger.warning("checkpoint %s cannot be read (%s); it is put aside.", path, reason)
        return None
    return state


def put_aside(path: Path) -> None:
    """Rename a damaged file, so that it is kept for inspection and not read again."""
    with contextlib.suppress(FileNotFoundError):  # another worker may have been quicker
        path.replace(path.with_name(path.name + ".damaged"))


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the fold's newest checkpoint, or None when it has none."""
    checkpoints = _checkpoints(folder)
    return checkpoints[-1] if checkpoints else None


@dataclass(frozen=True, kw_only=True)
class ShrinkAndPerturb:
    """How a restart makes new weights from old ones: ``shrink * old + noise * fresh``.

    Fresh weights are those of a new model; the optimiser's moments are dropped.

    Attributes:
        epoch: The milestone that it applies to.
        shrink: Factor of the old weights, in (0, 1).
        noise: Factor of the fresh ones, in [0, 1).

    References:
        Ash, Adams, "On Warm-Starting Neural Network Training", NeurIPS 2020.
    """

    epoch: int
    shrink: float
    noise: float

    def write(self, folder: Path) -> None:
        """Write the note beside the milestone."""
        with replacing(folder / _NOTE) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def read(cls, checkpoint: Path) -> Self | None:
        """Return the note for a checkpoint, or None when it is to be taken as it is."""
        try:
            note = cls(**json.loads((checkpoint.parent / _NOTE).read_text()))
        except FileNotFoundError:
            return None
        wanted = checkpoint_path(checkpoint.parent, note.epoch, milestone=True)
        return note if checkpoint == wanted else None


def newest_epoch(folder: Path) -> int:
    """Return the epoch of the fold's newest checkpoint; 0 when it has none."""
    newest = newest_checkpoint(folder)
    return _epoch(newest) if newest else 0


def remove_checkpoints(folder: Path) -> None:
    """Remove all checkpoints of a finished fold."""
    for path in _checkpoints(folder):
        path.unlink(missing_ok=True)


def _checkpoints(folder: Path) -> list[Path]:
    """Return a folder's checkpoints, the oldest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=_epoch)


def _epoch(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[2])

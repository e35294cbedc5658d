"""Checkpoints of one fold: written by rank 0, named by epoch, whole or not at all."""

import re
from pathlib import Path
from typing import Any

import torch

from rayfold.storage import replacing

KEPT = 2
"""How many checkpoints of a fold are kept: the newest, and one in case another trial copies it."""


def checkpoint_path(folder: Path, epoch: int) -> Path:
    """Return the file for the state after ``epoch`` epochs."""
    return folder / f"epoch_{epoch:05d}.pt"


def save_checkpoint(folder: Path, epoch: int, state: dict[str, Any]) -> Path:
    """Write a state, then remove all but the newest checkpoints.

    Args:
        folder: The fold's folder, made if need be.
        epoch: Epochs trained so far.
        state: Tensors and plain values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = checkpoint_path(folder, epoch)
    with replacing(path) as temporary:
        torch.save(state, temporary)
    for old in _checkpoints(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a state; nothing but tensors and plain values is ever unpickled."""
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the fold's newest checkpoint, or None when it has none."""
    checkpoints = _checkpoints(folder)
    return checkpoints[-1] if checkpoints else None


def remove_checkpoints(folder: Path) -> None:
    """Remove all checkpoints of a fold that is done."""
    for path in _checkpoints(folder):
        path.unlink(missing_ok=True)


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if re.fullmatch(r"epoch_\d{5}\.pt", path.name))

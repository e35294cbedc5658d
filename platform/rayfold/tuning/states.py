"""The states of a trial's folds on disk, which another trial may take over."""

import hashlib
import os
import shutil
from pathlib import Path

from rayfold.jobs import fold_folder, lineage_folder
from rayfold.storage import fsync_folder, replacing
from rayfold.study_folder import StudyFolder
from rayfold.training.checkpoint import ShrinkAndPerturb, checkpoint_path, remove_checkpoints


def take_over(
    study_folder: Path,
    *,
    trial: str,
    lineage: int,
    donor: str,
    donor_lineage: int,
    epoch: int,
    num_folds: int,
    restart: ShrinkAndPerturb | None = None,
) -> tuple[str, ...]:
    """Copy the milestones of the donor's folds, each to the same fold of a trial.

    They become the only checkpoints of the trial's new lineage; those of its present lineage stay.
    Files are linked if the file system can, otherwise copied.

    Args:
        study_folder: The study's folder.
        trial: The trial that takes over.
        lineage: Its lineage from then on.
        donor: The trial that the states come from.
        donor_lineage: Its lineage.
        epoch: The milestone's epoch.
        num_folds: Folds of each trial.
        restart: How the trial's folds change these states when they load them.

    Returns:
        SHA-256 of each fold's file, in order of the folds.

    Raises:
        FileNotFoundError: If a fold of the donor lacks that milestone; nothing is left behind.
    """
    targets = [
        study_folder / lineage_folder(fold_folder(trial, fold), lineage)
        for fold in range(num_folds)
    ]
    digests = []
    try:
        for fold, target in enumerate(targets):
            folder = study_folder / lineage_folder(fold_folder(donor, fold), donor_lineage)
            source = checkpoint_path(folder, epoch, milestone=True)
            shutil.rmtree(target, ignore_errors=True)  # a crash may have left it
            target.mkdir(parents=True)
            copy = target / source.name
            if restart is not None:
                restart.write(target)
            _link_or_copy(source, copy)
            fsync_folder(target.parent)
            with copy.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    except FileNotFoundError:
        for target in targets:
            shutil.rmtree(target, ignore_errors=True)
        raise
    return tuple(digests)


def drop_earlier_lineages(study_folder: Path, trial: str, lineage: int, num_folds: int) -> None:
    """Remove the checkpoints and results of a trial's folds from before its present lineage."""
    for fold in range(num_folds):
        folder = study_folder / fold_folder(trial, fold)
        remove_checkpoints(folder)
        (folder / "result.json").unlink(missing_ok=True)
        for earlier in range(1, lineage):
            shutil.rmtree(lineage_folder(folder, earlier), ignore_errors=True)


def remove_states(study_folder: Path, trial: str) -> None:
    """Remove all checkpoints of a trial that will never be resumed or copied."""
    for folder in (StudyFolder(study_folder).trials / trial).glob("fold_*"):
        remove_checkpoints(folder)
        for lineage in folder.glob("lineage_*"):
            shutil.rmtree(lineage, ignore_errors=True)


def _link_or_copy(source: Path, copy: Path) -> None:
    try:
        os.link(source, copy)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        with replacing(copy) as temporary:
            shutil.copyfile(source, temporary)
    else:
        fsync_folder(copy.parent)


def start_anew(study_folder: Path, trial: str, number: int) -> None:
    """Remove the files that a trial wrote before it began anew, once for each new beginning.

    Args:
        study_folder: The study's folder.
        trial: The trial.
        number: How often it has begun anew, by the journal. A file in its folder records for which
            of these the folder was emptied, so a crash in between does no harm.
    """
    folder = StudyFolder(study_folder).trials / trial
    mark = folder / _FRESH_START
    if mark.is_file() and mark.read_text() == str(number):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with replacing(mark) as temporary:
        temporary.write_text(str(number))


_FRESH_START = "fresh_start"

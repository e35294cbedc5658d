"""Checks of a bundle's folder: it is new, or it holds exactly the files of the manifest."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from rayfold.bundle.manifest import MANIFEST, Manifest
from rayfold.errors import BundleError


def bundle_folder(folder: object) -> Path:
    """Return the folder of a bundle.

    Raises:
        BundleError: If it is not a path.
    """
    if not isinstance(folder, str | os.PathLike):
        raise BundleError(f"a bundle is a folder, got {folder!r}; give its path.")
    return Path(folder)


def check_new_bundle(folder: Path) -> None:
    """Check that a bundle can be written to a folder, before it is built.

    Raises:
        BundleError: If ``folder`` exists.
    """
    if os.path.lexists(folder):
        raise BundleError(f"{folder} exists already; export to a new folder, or remove it first.")


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare the folder with the manifest, byte by byte, without parsing files.

    Raises:
        BundleError: If a file is missing, additional, changed, a link or outside the folder.
    """
    for name in manifest.files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name:
            raise BundleError(
                f"{folder / MANIFEST} names {name!r}, outside the bundle; do not use it."
            )
    found = set(files_below(folder)) - {MANIFEST}
    if missing := sorted(set(manifest.files) - found):
        raise BundleError(f"{folder} lacks {missing[0]}; copy the bundle again.")
    if extra := sorted(found - set(manifest.files)):
        raise BundleError(
            f"{folder} holds {extra[0]}, which its manifest does not name; copy the bundle again."
        )
    named = {str(parent) for name in manifest.files for parent in PurePosixPath(name).parents}
    if empty := sorted(set(_folders_below(folder)) - named):
        raise BundleError(
            f"{folder} holds the folder {empty[0]}, which its manifest does not name; copy the "
            "bundle again."
        )
    for name, expected in manifest.files.items():
        if digest(folder / name) != expected:
            raise BundleError(
                f"{folder / name} was changed: its SHA-256 is not the manifest's; copy the bundle "
                "again."
            )
    used = manifest.used
    if sorted(used) != sorted(manifest.files):
        odd = sorted(set(used) ^ set(manifest.files)) or sorted(used)
        raise BundleError(
            f"{folder / MANIFEST}: members and files disagree about {odd[0]!r}; export it again."
        )


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of all files below ``folder`` other than the manifest, by path."""
    names = sorted(name for name in files_below(folder) if name != MANIFEST)
    return {name: digest(folder / name) for name in names}


def digest(file: Path) -> str:
    """Return a file's SHA-256."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_below(folder: Path) -> Iterator[str]:
    """Yield the paths of all files, relative to ``folder``; links and devices are refused."""
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise BundleError(
                    f"{path} is a link or a device, and a bundle holds plain files only; copy it "
                    "with what links lead to."
                )
            if stat.S_ISREG(mode):
                yield path.relative_to(folder).as_posix()


def _folders_below(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_dir():
            yield path.relative_to(folder).as_posix()


def sync(folder: Path) -> None:
    """Write every file and folder below ``folder`` to the disk."""
    for path in [folder, *folder.rglob("*")]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

"""The user's code in a bundle: texts that are imported only on request."""

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from rayfold.bundle.manifest import CODE, Manifest, SourcePart
from rayfold.ensemble.records import Contents
from rayfold.errors import BundleError, RayfoldError
from rayfold.library import is_own_model, model_source, resolve_model
from rayfold.user_code import SourceCode, installed_versions, source_of_files

logger = logging.getLogger(__name__)

_LARGEST_TEXT = 2**24


def write_sources(contents: Contents, folder: Path) -> dict[str, SourcePart]:
    """Write the code of an ensemble's models, and return its entries for the manifest.

    Args:
        contents: The ensemble.
        folder: The bundle.

    Returns:
        The entries by the reference of each model.
    """
    parts = {}
    for member in contents.members:
        if member.model not in parts:
            source = model_source(type(member.models[0]))
            parts[member.model] = _write(source, folder)
    return parts


def load_classes(
    folder: Path,
    manifest: Manifest,
    *,
    models: Mapping[str, type[nn.Module]],
    allow_code: bool,
) -> dict[str, type[nn.Module]]:
    """Return the classes of a bundle's members, by reference.

    Models of Rayfold are imported. The code of others is in the bundle or named by it. It runs
    only with ``allow_code``, unless the class is passed in ``models``.

    Args:
        folder: The bundle, its files checked against the manifest.
        manifest: Its manifest.
        models: Classes for the references in the manifest.
        allow_code: Whether to run the bundle's own code, and import the modules that it names.

    Raises:
        BundleError: If that is not allowed, or the code cannot be found or imported.
    """
    references = dict.fromkeys(member.model.reference for member in manifest.members)
    return {name: _load(folder, manifest, name, models, allow_code) for name in references}


def _load(
    folder: Path,
    manifest: Manifest,
    reference: str,
    models: Mapping[str, type[nn.Module]],
    allow_code: bool,
) -> type[nn.Module]:
    try:
        if reference in models:
            return resolve_model(models[reference])
        if is_own_model(reference):
            return resolve_model(reference)
        part = manifest.sources.get(reference)
        if part is None:
            raise BundleError(
                f"{folder} does not say where {reference!r} comes from; export it again."
            )
        if part.kind == "notebook":
            raise BundleError(
                f"{reference!r} is a class of a notebook, which no file holds; pass "
                f"models={{{reference!r}: YourClass}}{_without_code(manifest)}."
            )
        if not allow_code:
            what = "brings the code of" if part.kind == "files" else "imports"
            raise BundleError(
                f"the bundle {what} {reference!r}, which runs when its weights are loaded; pass "
                f"allow_code=True (--allow-code) if you trust it, or models={{{reference!r}: "
                f"YourClass}}{_without_code(manifest)}."
            )
        if part.kind == "installed":
            _tell_other_versions(reference, part)
            return resolve_model(f"{part.module}:{part.name}")
        return resolve_model(_read(folder, reference, part))
    except RayfoldError as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"the bundle's model cannot be imported: {error}") from error


def _write(source: SourceCode, folder: Path) -> SourcePart:
    place = f"{CODE}/{source.digest[:12]}"
    files = source.files if source.kind == "files" else {}
    for name, text in files.items():
        path = folder / place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    return SourcePart(
        kind=source.kind,
        digest=source.digest,
        module=source.module,
        name=source.name,
        files={name: f"{place}/{name}" for name in files},
        packages=dict(source.packages),
    )


def _read(folder: Path, reference: str, part: SourcePart) -> SourceCode:
    """Return the source in a bundle's files, after comparing it with its digest."""
    texts = {}
    for name, file in part.files.items():
        if (size := (folder / file).stat().st_size) > _LARGEST_TEXT:
            raise BundleError(f"{folder / file} has {size} bytes; it is no source code.")
        try:
            texts[name] = (folder / file).read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            raise BundleError(f"{folder / file} is no text; export the bundle again.") from None
    source = source_of_files(
        reference, module=part.module, name=part.name, files=texts, packages=part.packages
    )
    if source.digest != part.digest:
        raise BundleError(
            f"{folder}: the code of {reference!r} is not what the manifest says; copy the bundle "
            "again."
        )
    return source


def _tell_other_versions(reference: str, part: SourcePart) -> None:
    here = installed_versions(part.packages)
    other = [
        f"{name} {version} -> {here.get(name, 'not installed')}"
        for name, version in part.packages.items()
        if here.get(name) != version
    ]
    if other:
        logger.warning(
            "%s is imported from other versions than the bundle was exported with: %s.",
            reference,
            ", ".join(other),
        )


def _without_code(manifest: Manifest) -> str:
    return ", or form='onnx', which needs no code" if "onnx" in manifest.programs else ""

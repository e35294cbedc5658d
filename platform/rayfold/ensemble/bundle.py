"""Bundles: an ensemble as one folder that is safe to load, with no pickle in it.

::

    digits-ensemble/
        manifest.json                          what it is, and the SHA-256 of every other file
        combination.safetensors                how the members' predictions are combined
        members/0/fold_0.safetensors           a model's state dict
        members/0/fold_1.safetensors
        ...

Loading trusts no file: digests are checked before weights are read, and only models that come
with Rayfold are imported unless the caller names others.
"""

import hashlib
import json
import math
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from rayfold.ensemble.combination import Combination, combination_from_state
from rayfold.ensemble.members import load_model
from rayfold.ensemble.records import Contents, Input, Member, Origin, Signature
from rayfold.errors import BundleError, RayfoldError
from rayfold.library import resolve_model
from rayfold.storage import fsync_folder

FORMAT: Final = "rayfold-bundle"
VERSION: Final = 2

_MANIFEST = "manifest.json"
_COMBINATION = "combination.safetensors"
_OWN_MODELS = re.compile(r"rayfold\.models(\.[A-Za-z]\w*)+:[A-Za-z]\w*", re.ASCII)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _Input(_Part):
    name: str
    shape: list[Annotated[int, Field(ge=1)]]
    dtype: str


class _Model(_Part):
    reference: str
    arguments: dict[str, Any]


class _Fold(_Part):
    file: str


class _Member(_Part):
    study_id: str
    trial: str
    weight: Annotated[float, Field(ge=0, le=1)]
    score: float | None
    out_of_fold_loss: float
    config: dict[str, bool | int | float | str]
    model: _Model
    folds: Annotated[list[_Fold], Field(min_length=1)]


class _Combination(_Part):
    kind: str
    file: str


class _Digests(_Part):
    data: str
    folds: str


class _Versions(_Part):
    rayfold: str
    torch: str


class _Manifest(_Part):
    format: Literal["rayfold-bundle"]
    version: Literal[2]
    created: str
    versions: _Versions
    studies: Annotated[dict[str, str], Field(min_length=1)]
    task: Literal["classification", "regression"]
    inputs: Annotated[list[_Input], Field(min_length=1)]
    labels: str | None
    num_outputs: Annotated[int, Field(ge=1)]
    classes: list[bool | int | float | str] | None
    digests: _Digests
    test: dict[str, bool | int | float | str | None]
    out_of_fold_loss: float
    single_best_loss: float
    combination: _Combination
    members: Annotated[list[_Member], Field(min_length=1)]
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]


def check_new_bundle(folder: Path) -> None:
    """Check that a bundle can be written to a folder, before it is built.

    Raises:
        BundleError: If ``folder`` exists.
    """
    if os.path.lexists(folder):
        raise BundleError(f"{folder} exists already; export to a new folder, or remove it first.")


def write_bundle(contents: Contents, folder: Path) -> None:
    """Write a bundle: the whole folder appears at once, or not at all.

    Raises:
        BundleError: If ``folder`` exists, or cannot be written.
    """
    check_new_bundle(folder)
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    try:
        unfinished.mkdir(parents=True)
        files: dict[str, nn.Module] = {
            _file_name(index, fold): model
            for index, member in enumerate(contents.members)
            for fold, model in enumerate(member.models)
        }
        files[_COMBINATION] = contents.combination
        for name, model in files.items():
            (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
            _save_state(model, unfinished / name)
        manifest = _describe(contents, {name: _digest(unfinished / name) for name in files})
        (unfinished / _MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        _sync(unfinished)
        unfinished.rename(folder)
        fsync_folder(folder.parent)
    except OSError as error:
        raise BundleError(
            f"{folder} cannot be written ({error.strerror}); export to another folder."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # nothing is left of it when all is well


def read_bundle(
    folder: Path, *, models: Mapping[str, type[nn.Module]], allow_references: bool
) -> Contents:
    """Check a bundle and read it.

    Args:
        folder: The bundle.
        models: Classes for the references in the manifest, by reference.
        allow_references: Import the other references that the manifest names, too.

    Raises:
        BundleError: If anything is missing, additional, changed, unknown or does not fit.
    """
    manifest = _read_manifest(folder)
    _check_files(folder, manifest)
    if manifest.classes is not None and len(manifest.classes) != manifest.num_outputs:
        raise BundleError(
            f"{folder / _MANIFEST}: expected {manifest.num_outputs} classes, "
            f"got {len(manifest.classes)}."
        )
    if (manifest.task == "classification") != (manifest.classes is not None):
        raise BundleError(f"{folder / _MANIFEST}: classes do not go with task {manifest.task}.")
    combination = _load_combination(folder, manifest)
    model_classes = [
        _resolve(member.model.reference, models, allow_references) for member in manifest.members
    ]
    return Contents(
        signature=Signature(
            task=manifest.task,
            inputs=tuple(
                Input(name=entry.name, shape=tuple(entry.shape), dtype=entry.dtype)
                for entry in manifest.inputs
            ),
            num_outputs=manifest.num_outputs,
            classes=None if manifest.classes is None else tuple(manifest.classes),
        ),
        origin=Origin(
            studies=manifest.studies,
            data_digest=manifest.digests.data,
            fold_digest=manifest.digests.folds,
            labels=manifest.labels,
            test=manifest.test,
        ),
        members=tuple(
            _load_member(folder, member, model_class)
            for member, model_class in zip(manifest.members, model_classes, strict=True)
        ),
        combination=combination,
        out_of_fold_loss=manifest.out_of_fold_loss,
        single_best_loss=manifest.single_best_loss,
    )


def _describe(contents: Contents, digests: dict[str, str]) -> _Manifest:
    signature, origin = contents.signature, contents.origin
    return _Manifest(
        format=FORMAT,
        version=VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_Versions(rayfold=version("rayfold"), torch=version("torch")),
        studies=dict(origin.studies),
        task=signature.task,
        inputs=[
            _Input(name=entry.name, shape=list(entry.shape), dtype=entry.dtype)
            for entry in signature.inputs
        ],
        labels=origin.labels,
        num_outputs=signature.num_outputs,
        classes=None if signature.classes is None else list(signature.classes),
        digests=_Digests(data=origin.data_digest, folds=origin.fold_digest),
        test=dict(origin.test),
        out_of_fold_loss=contents.out_of_fold_loss,
        single_best_loss=contents.single_best_loss,
        combination=_Combination(kind=contents.combination.kind, file=_COMBINATION),
        members=[
            _Member(
                study_id=member.study_id,
                trial=member.trial,
                weight=member.weight,
                score=member.score,
                out_of_fold_loss=member.out_of_fold_loss,
                config=dict(member.config),
                model=_Model(reference=member.model, arguments=dict(member.arguments)),
                folds=[_Fold(file=_file_name(index, i)) for i in range(len(member.models))],
            )
            for index, member in enumerate(contents.members)
        ],
        files=digests,
    )


def _file_name(member: int, fold: int) -> str:
    return f"members/{member}/fold_{fold}.safetensors"


def _save_state(model: nn.Module, file: Path) -> None:
    """Write a state dict; tensors that share memory are written once each."""
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in model.state_dict().items()
    }
    save_file(tensors, file)


def _sync(folder: Path) -> None:
    """Bring every file and folder below ``folder`` to the disk."""
    for path in [folder, *folder.rglob("*")]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_manifest(folder: Path) -> _Manifest:
    file = folder / _MANIFEST
    if not folder.is_dir():
        raise BundleError(f"{folder} is no folder; name the folder of an exported bundle.")
    if file.is_symlink() or not file.is_file():
        raise BundleError(f"{folder} holds no {_MANIFEST}; it is no bundle, or not a whole one.")
    text = file.read_bytes()
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{file} is no JSON: {error}; export the bundle again.") from error
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise BundleError(f"{file}: expected format {FORMAT!r}, got {found!r}; it is no bundle.")
    if values.get("version") != VERSION:
        raise BundleError(
            f"{file}: expected version {VERSION}, got {values.get('version')!r}; "
            "load it with the Rayfold that wrote it."
        )
    try:
        return _Manifest.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, problem["loc"]))
        raise BundleError(f"{file}: {field}: {problem['msg']}; export it again.") from error


def _check_files(folder: Path, manifest: _Manifest) -> None:
    """Compare the folder with the manifest, byte by byte; nothing is parsed yet."""
    for name in manifest.files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name:
            raise BundleError(f"{folder / _MANIFEST} names {name!r}, outside the bundle.")
    found = set(_files_below(folder)) - {_MANIFEST}
    if missing := sorted(set(manifest.files) - found):
        raise BundleError(f"{folder} lacks {missing[0]}; copy the bundle again.")
    if extra := sorted(found - set(manifest.files)):
        raise BundleError(f"{folder} holds {extra[0]}, which its manifest does not name.")
    for name, digest in manifest.files.items():
        if _digest(folder / name) != digest:
            raise BundleError(f"{folder / name} was changed: its SHA-256 is not the manifest's.")
    used = [fold.file for member in manifest.members for fold in member.folds]
    used.append(manifest.combination.file)
    if sorted(used) != sorted(manifest.files):
        odd = sorted(set(used) ^ set(manifest.files)) or sorted(used)
        raise BundleError(f"{folder / _MANIFEST}: members and files disagree about {odd[0]!r}.")


def _files_below(folder: Path) -> Iterator[str]:
    """Yield the paths of all files, relative to ``folder``; links and devices are refused."""
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise BundleError(
                    f"{path} is a link or a device; a bundle holds plain files only."
                )
            if stat.S_ISREG(mode):
                yield path.relative_to(folder).as_posix()


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _resolve(
    reference: str, models: Mapping[str, type[nn.Module]], allow_references: bool
) -> type[nn.Module]:
    known = reference in models
    if not (known or allow_references or _OWN_MODELS.fullmatch(reference)):
        raise BundleError(
            f"the bundle wants to import {reference!r}; pass models={{{reference!r}: YourClass}}, "
            "or allow_references=True if you trust it."
        )
    try:
        return resolve_model(models[reference] if known else reference)
    except RayfoldError as error:
        raise BundleError(f"the bundle's model cannot be imported: {error}") from error


def _load_member(folder: Path, member: _Member, model_class: type[nn.Module]) -> Member:
    arguments = {name: _as_tuples(value) for name, value in member.model.arguments.items()}
    try:
        models = tuple(
            load_model(model_class, arguments, folder / fold.file) for fold in member.folds
        )
    except RayfoldError as error:
        raise BundleError(f"{folder}: member {member.trial}: {error}") from error
    return Member(
        study_id=member.study_id,
        trial=member.trial,
        weight=member.weight,
        score=member.score,
        out_of_fold_loss=member.out_of_fold_loss,
        config=member.config,
        model=member.model.reference,
        arguments=arguments,
        models=models,
    )


def _load_combination(folder: Path, manifest: _Manifest) -> Combination:
    """Load what combines the members, and hold it against the manifest."""
    file, weights = folder / manifest.combination.file, [m.weight for m in manifest.members]
    try:
        combination = combination_from_state(
            manifest.combination.kind,
            load_file(file),
            task=manifest.task,
            num_members=len(weights),
            num_outputs=manifest.num_outputs,
        )
    except (SafetensorError, ValueError) as error:
        raise BundleError(f"{file} cannot be used: {error}; export the bundle again.") from error
    shares = combination.shares
    if not (np.allclose(shares, weights, atol=1e-6) and math.isclose(math.fsum(shares), 1)):
        raise BundleError(
            f"{folder / _MANIFEST}: the members' weights are {weights}, those of {file.name} "
            f"{list(shares)}; both should be the same, of sum 1."
        )
    return combination


def _as_tuples(value: Any) -> Any:
    """Return shapes as the tuples that they were before JSON."""
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value

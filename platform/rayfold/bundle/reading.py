"""Reading a bundle; its contents are used only after they were checked."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from rayfold.bundle.card import PLOTS
from rayfold.bundle.folder import bundle_folder, check_files
from rayfold.bundle.manifest import (
    MANIFEST,
    OF_CONTENTS,
    OF_MEMBER,
    Manifest,
    MemberPart,
    read_manifest,
    same_fields,
)
from rayfold.bundle.programs import check_onnx, load_onnx
from rayfold.bundle.sources import load_classes
from rayfold.bundle.weights import check_declared, load_scores
from rayfold.ensemble.combination import Combination, combination_from_state
from rayfold.ensemble.ensemble import Ensemble
from rayfold.ensemble.estimator import Predict
from rayfold.ensemble.evaluation.conformal import num_scores
from rayfold.ensemble.members import load_model
from rayfold.ensemble.records import Contents, Member, Supplement
from rayfold.errors import BundleError, RayfoldError, one_of

_LARGEST_PLOT = 2**24


def load_bundle(
    folder: str | Path,
    *,
    models: Mapping[str, type[nn.Module]] | None = None,
    allow_code: bool = False,
    form: Literal["weights", "onnx"] = "weights",
) -> Ensemble:
    """Load an exported ensemble, after checking every byte of it against its manifest.

    Args:
        folder: The bundle.
        models: Your model classes, by the reference that the manifest names.
        allow_code: Whether to run the code of models that are not part of Rayfold: the bundle's
            copy of your files, or the installed module that it names. Your own file is not read.
        form: The form that predicts: the models with their weights, or the bundle's ONNX program,
            which needs no code.

    Raises:
        BundleError: If the bundle is damaged, foreign or of an unknown version, or needs the code
            of a model that is not part of Rayfold.
    """
    folder = bundle_folder(folder)
    if one_of("form", form, ("weights", "onnx")) == "onnx":
        return Ensemble(*read_onnx(folder))
    return Ensemble(read_bundle(folder, models=models or {}, allow_code=allow_code))


def load_for_serving(folder: Path, *, allow_code: bool = False) -> Ensemble:
    """Load a bundle's ONNX program if it has one, otherwise its weights.

    Raises:
        BundleError: As ``load_bundle`` does.
    """
    if "onnx" in read_manifest(folder).programs:
        return load_bundle(folder, form="onnx")
    return load_bundle(folder, allow_code=allow_code)


def read_bundle(
    folder: Path, *, models: Mapping[str, type[nn.Module]], allow_code: bool
) -> Contents:
    """Check a bundle and read its weights.

    Args:
        folder: The bundle.
        models: Classes for the references in the manifest, by reference.
        allow_code: Whether to run the code of models that the bundle brings or names.

    Raises:
        BundleError: If anything is missing, additional, changed, unknown or does not fit.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    combination = _load_combination(folder, manifest)
    classes = load_classes(folder, manifest, models=models, allow_code=allow_code)
    shapes = manifest.signature.model_shapes
    members = tuple(
        _load_member(folder, member, classes[member.model.reference], shapes)
        for member in manifest.members
    )
    return _contents(folder, manifest, combination, members)


def read_onnx(folder: Path) -> tuple[Contents, Predict]:
    """Check a bundle and read its ONNX program, which needs no model's class.

    Returns:
        The contents, with members without models; and the program.

    Raises:
        BundleError: As ``read_bundle``, or if the bundle has no such program.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    if "onnx" not in manifest.programs:
        raise BundleError(
            f"{folder} holds no ONNX program; load its weights, or export it with one."
        )
    file = folder / manifest.programs["onnx"]
    check_onnx(file, set(manifest.files))
    combination = _load_combination(folder, manifest)
    members = tuple(_member(member, ()) for member in manifest.members)
    return _contents(folder, manifest, combination, members), load_onnx(file)


def _contents(
    folder: Path, manifest: Manifest, combination: Combination, members: tuple[Member, ...]
) -> Contents:
    return Contents(
        signature=manifest.signature,
        origin=manifest.origin,
        members=members,
        combination=combination,
        **same_fields(manifest, OF_CONTENTS),
        nonconformity=load_scores(
            folder / manifest.nonconformity,
            num_scores(manifest.signature.task, manifest.num_outputs),
        ),
        spread=None if manifest.spread is None else tuple(manifest.spread),
        supplement=_supplement(folder, manifest),
    )


def _supplement(folder: Path, manifest: Manifest) -> Supplement | None:
    """Read the report of the card; None if it has none."""
    plots = {}
    for name in manifest.documents:
        if name.startswith(f"{PLOTS}/"):
            if (size := (folder / name).stat().st_size) > _LARGEST_PLOT:
                raise BundleError(
                    f"{folder / name} has {size} bytes, at most {_LARGEST_PLOT} are allowed; "
                    "it is no plot."
                )
            plots[name.removeprefix(f"{PLOTS}/")] = (folder / name).read_bytes()
    if not plots and not manifest.sections:
        return None
    return Supplement(sections=dict(manifest.sections), plots=plots)


def _load_member(
    folder: Path,
    member: MemberPart,
    model_class: type[nn.Module],
    input_shapes: Sequence[tuple[int, ...]],
) -> Member:
    arguments = _arguments(member)
    try:
        models = []
        for fold in member.folds:
            file = folder / fold.file
            check_declared(model_class, arguments, file, input_shapes=input_shapes)
            models.append(load_model(model_class, arguments, file, input_shapes=input_shapes))
    except RayfoldError as error:
        raise BundleError(f"{folder}: member {member.trial}: {error}") from error
    return _member(member, tuple(models))


def _member(member: MemberPart, models: tuple[nn.Module, ...]) -> Member:
    return Member(
        **same_fields(member, OF_MEMBER),
        config=member.config,
        model=member.model.reference,
        arguments=_arguments(member),
        models=models,
    )


def _load_combination(folder: Path, manifest: Manifest) -> Combination:
    """Load the combination of the members and compare it with the manifest."""
    file, weights = folder / manifest.combination.file, [m.weight for m in manifest.members]
    try:
        combination = combination_from_state(
            manifest.combination.kind,
            load_file(file),
            task=manifest.signature.task,
            num_members=len(weights),
            num_outputs=manifest.num_outputs,
        )
    except (SafetensorError, ValueError) as error:
        raise BundleError(f"{file} cannot be used: {error}; export the bundle again.") from error
    shares = combination.shares
    if not (np.allclose(shares, weights, atol=1e-6) and math.isclose(math.fsum(shares), 1)):
        raise BundleError(
            f"{folder / MANIFEST}: the members' weights are {weights}, those of {file.name} "
            f"{list(shares)}; both should be the same, of sum 1."
        )
    return combination


def _arguments(member: MemberPart) -> dict[str, Any]:
    return {name: _as_tuples(value) for name, value in member.model.arguments.items()}


def _as_tuples(value: Any) -> Any:
    """Return shapes as tuples; JSON made lists of them."""
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value

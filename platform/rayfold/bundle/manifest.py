"""A bundle's manifest: a description of the bundle in JSON, checked field by field."""

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rayfold.data import Channels
from rayfold.data.inputs import Input, has_channels_last
from rayfold.description import HoldoutSplit
from rayfold.ensemble.records import Contents, Origin, Signature
from rayfold.errors import BundleError
from rayfold.tasks import TASKS, find_task

FORMAT: Final = "rayfold-bundle"
VERSION: Final = 3

MANIFEST: Final = "manifest.json"
COMBINATION: Final = "combination.safetensors"
NONCONFORMITY: Final = "nonconformity.safetensors"
CARD: Final = "README.md"
CODE: Final = "code"

OF_MEMBER: Final = ("study_id", "trial", "run_id", "weight", "score", "out_of_fold_loss")
OF_CONTENTS: Final = ("licence", "out_of_fold_loss", "single_best_loss", "nested_loss", "reason")
"""Fields of a ``Member`` and of ``Contents`` that the manifest copies unchanged."""

_LARGEST_MANIFEST = 2**26
_LARGEST_ROW = 2**31

_LIBRARIES = ("rayfold", "torch", "numpy", "safetensors", "onnx", "onnxscript", "onnxruntime")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class InputPart(_Part):
    """A feature array."""

    name: str
    shape: list[Annotated[int, Field(ge=1)]]
    dtype: Annotated[str, Field(pattern=r"^(bool|u?int\d+|float\d+|[<>][biuf]\d)$")]
    channels: Channels = "first"


class TestPart(_Part):
    """How the test rows were chosen."""

    fraction: float = 0.0
    random_seed: int = 0
    row_groups: str | None = None


class ModelPart(_Part):
    """A member's model: its class and the arguments of its constructor."""

    reference: str
    arguments: dict[str, Any]


_PART = r"[^./\\\x00-\x1f]+"
"""Name of a file or module, such as ``my-net``; it cannot lead out of a folder."""


class SourcePart(_Part):
    """Origin of a model's class: texts in the bundle, an installed module, a notebook."""

    kind: Literal["files", "installed", "notebook"]
    digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    module: Annotated[str, Field(pattern=rf"^{_PART}(\.{_PART})*$")]
    name: Annotated[str, Field(pattern=r"^[\w<>]+(\.[\w<>]+)*$")]
    files: dict[Annotated[str, Field(pattern=rf"^{_PART}(/{_PART})*\.py$")], str]
    packages: dict[str, str]


class FoldPart(_Part):
    """A model's weights."""

    file: str


class MemberPart(_Part):
    """A member."""

    study_id: str
    trial: str
    run_id: str | None
    weight: Annotated[float, Field(ge=0, le=1)]
    score: float | None
    out_of_fold_loss: float
    config: dict[str, bool | int | float | str]
    model: ModelPart
    folds: Annotated[list[FoldPart], Field(min_length=1)]


class CombinationPart(_Part):
    """The combination of the members."""

    kind: str
    file: str


class DigestsPart(_Part):
    """Digests of the members' data and folds."""

    data: str
    folds: str


class Manifest(_Part):
    """The whole manifest."""

    format: Literal["rayfold-bundle"]
    version: Literal[3]
    created: str
    licence: str | None
    versions: dict[str, str]
    studies: Annotated[dict[str, str], Field(min_length=1)]
    runs: dict[str, str]
    scored: list[str] = []
    task: str
    inputs: Annotated[list[InputPart], Field(min_length=1)]
    labels: str | None
    num_outputs: Annotated[int, Field(ge=1, le=_LARGEST_ROW)]
    classes: list[bool | int | float | str] | None
    digests: DigestsPart
    test: TestPart
    out_of_fold_loss: float
    single_best_loss: float
    nested_loss: float
    reason: str
    nonconformity: str
    combination: CombinationPart
    members: Annotated[list[MemberPart], Field(min_length=1)]
    sources: dict[str, SourcePart]
    programs: dict[Literal["torch", "onnx"], str]
    verified: dict[Literal["weights", "torch", "onnx"], float]
    verified_here: list[Literal["weights", "torch", "onnx"]]
    spread: list[Annotated[float, Field(ge=0)]] | None
    sections: dict[str, str]
    documents: list[str]
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]

    @property
    def used(self) -> list[str]:
        """The files that it says what for."""
        folds = [fold.file for member in self.members for fold in member.folds]
        rest = [self.combination.file, self.nonconformity, *self.programs.values()]
        external = f"{self.programs.get('onnx')}.data"  # of a program of more than 2 GB
        rest += [external] if external in self.files else []
        code = dict.fromkeys(
            file for source in self.sources.values() for file in source.files.values()
        )
        return [*folds, *rest, *code, *self.documents]

    @property
    def signature(self) -> Signature:
        """What goes in and what comes out."""
        return Signature(
            task=find_task(self.task),
            inputs=tuple(Input.from_dict(entry.model_dump()) for entry in self.inputs),
            num_outputs=self.num_outputs,
            classes=tuple(self.classes) if self.classes else None,
        )

    @property
    def origin(self) -> Origin:
        """Where it comes from."""
        return Origin(
            studies=self.studies,
            data_digest=self.digests.data,
            fold_digest=self.digests.folds,
            labels=self.labels,
            test=HoldoutSplit(**self.test.model_dump()),
            runs=self.runs,
            scored=tuple(self.scored),
        )


def describe(
    contents: Contents,
    digests: Mapping[str, str],
    *,
    sources: Mapping[str, SourcePart],
    programs: Mapping[Literal["torch", "onnx"], str],
    documents: list[str],
    sections: Mapping[str, str],
) -> Manifest:
    """Return the manifest of a bundle.

    Args:
        contents: The contents of the bundle.
        digests: SHA-256 of each file, by its path in the folder.
        sources: Origins of the members' models, by reference.
        programs: The exported programs' files.
        documents: The files for people: the card and its plots.
        sections: Sections of the card from a report, Markdown by title.
    """
    signature, origin = contents.signature, contents.origin
    return Manifest(
        format=FORMAT,
        version=VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"python": platform.python_version(), **{n: version(n) for n in _LIBRARIES}},
        studies=dict(origin.studies),
        runs=dict(origin.runs),
        scored=list(origin.scored),
        task=signature.task.name,
        inputs=[InputPart(**entry.to_dict()) for entry in signature.inputs],
        labels=origin.labels,
        num_outputs=signature.num_outputs,
        classes=list(signature.classes) if signature.classes else None,
        digests=DigestsPart(data=origin.data_digest, folds=origin.fold_digest),
        test=TestPart(**asdict(origin.test)),
        **same_fields(contents, OF_CONTENTS),
        nonconformity=NONCONFORMITY,
        combination=CombinationPart(kind=contents.combination.kind, file=COMBINATION),
        members=[
            MemberPart(
                **same_fields(member, OF_MEMBER),
                config=dict(member.config),
                model=ModelPart(reference=member.model, arguments=dict(member.arguments)),
                folds=[FoldPart(file=weights_file(index, i)) for i in range(len(member.models))],
            )
            for index, member in enumerate(contents.members)
        ],
        sources=dict(sources),
        programs=dict(programs),
        verified={},
        verified_here=[],
        spread=None if contents.spread is None else list(contents.spread),
        sections=dict(sections),
        documents=documents,
        files=dict(digests),
    )


def same_fields(record: object, names: Sequence[str]) -> dict[str, Any]:
    """Return some fields of a record by name."""
    return {name: getattr(record, name) for name in names}


def weights_file(member: int, fold: int) -> str:
    """Return the path of a model's weights in the folder."""
    return f"members/{member}/fold_{fold}.safetensors"


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write a manifest into its folder; replace an existing one."""
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read only the manifest of a bundle.

    Raises:
        BundleError: If there is none, or this version of Rayfold does not write such manifests.
    """
    file = folder / MANIFEST
    if not folder.is_dir():
        raise BundleError(f"{folder} is no folder; name the folder of an exported bundle.")
    if file.is_symlink() or not file.is_file():
        raise BundleError(
            f"{folder} holds no {MANIFEST}; it is no bundle, or not a whole one; copy it again."
        )
    if (size := file.stat().st_size) > _LARGEST_MANIFEST:
        raise BundleError(
            f"{file} has {size} bytes, at most {_LARGEST_MANIFEST} are allowed; it is no bundle."
        )
    text = file.read_bytes()
    try:
        values = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{file} is no JSON: {error}; export the bundle again.") from error
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise BundleError(
            f"{file}: expected format {FORMAT!r}, got {found!r}; name the folder of a bundle."
        )
    if values.get("version") != VERSION:
        raise BundleError(
            f"{file}: expected version {VERSION}, got {values.get('version')!r}; "
            "load it with the Rayfold that wrote it."
        )
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, problem["loc"]))
        raise BundleError(f"{file}: {field}: {problem['msg']}; export it again.") from error
    _check_consistent(file, manifest)
    return manifest


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object with different names; readers disagree about repeated ones."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{repeated!r} is there twice")
    return dict(pairs)


def _check_consistent(file: Path, manifest: Manifest) -> None:
    if manifest.task not in TASKS:
        raise BundleError(
            f"{file}: task is {manifest.task!r}, expected one of {', '.join(TASKS)}; register "
            "your task first, or load it with the Rayfold that wrote it."
        )
    try:
        signature = manifest.signature
        signature.task.check_classes(signature.classes, signature.num_outputs)
    except ValueError as error:
        raise BundleError(f"{file}: {error}; export it again.") from None
    if manifest.spread is not None and len(manifest.spread) != manifest.num_outputs:
        raise BundleError(
            f"{file}: expected spreads of {manifest.num_outputs} outputs, got "
            f"{len(manifest.spread)}; export it again."
        )
    for entry in manifest.inputs:
        if entry.channels == "last" and not has_channels_last(entry.shape, "last"):
            raise BundleError(
                f"{file}: {entry.name} has rows of shape {entry.shape}, which cannot have their "
                "channels last; export it again."
            )
        if math.prod(entry.shape) > _LARGEST_ROW:
            raise BundleError(
                f"{file}: a row of {entry.name} has shape {entry.shape}, more than "
                f"{_LARGEST_ROW} numbers; it is no bundle of ours."
            )

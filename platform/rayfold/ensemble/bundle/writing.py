"""Writing a bundle: all forms of an ensemble, checked in a fresh process before it appears."""

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rayfold.ensemble.bundle.card import CardReport, check_report, write_card, write_plots
from rayfold.ensemble.bundle.folder import check_new_bundle, digests, sync
from rayfold.ensemble.bundle.manifest import (
    CARD,
    COMBINATION,
    NONCONFORMITY,
    describe,
    weights_file,
    write_manifest,
)
from rayfold.ensemble.bundle.programs import FILES, PROGRAMS, Program, write_programs
from rayfold.ensemble.bundle.sources import write_sources
from rayfold.ensemble.bundle.verification import verify
from rayfold.ensemble.bundle.weights import save_scores, save_state
from rayfold.ensemble.predictor import EnsembleModule
from rayfold.ensemble.records import Contents
from rayfold.errors import BundleError, did_you_mean
from rayfold.storage import fsync_folder


def write_bundle(
    contents: Contents,
    folder: Path,
    *,
    licence: str | None = None,
    programs: Sequence[str] = PROGRAMS,
    report: CardReport | None = None,
) -> None:
    """Write a bundle: the whole folder appears at once, or not at all.

    Args:
        contents: The ensemble.
        folder: A folder that does not exist yet.
        licence: What it may be used for, an SPDX name say; None: as ``contents`` has it.
        programs: Which programs to export besides the weights: ``"torch"``, ``"onnx"``.
        report: What the card shows besides; None: as ``contents`` has it.

    Raises:
        BundleError: If ``folder`` exists, or cannot be written; if a model cannot be exported; or
            if what was written, loaded in a fresh process, predicts something else.
    """
    check_new_bundle(folder)
    report = contents.supplement if report is None else report
    check_report(report)
    chosen = _checked(programs)
    if licence is not None:
        contents = replace(contents, licence=licence)
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    try:
        unfinished.mkdir(parents=True)
        _write(contents, unfinished, chosen, report)
        sync(unfinished)
        unfinished.rename(folder)
        fsync_folder(folder.parent)
    except OSError as error:
        raise BundleError(
            f"{folder} cannot be written ({error.strerror}); export to another folder."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # nothing is left of it when all is well


def _write(
    contents: Contents, folder: Path, programs: tuple[Program, ...], report: CardReport | None
) -> None:
    module = EnsembleModule(
        [member.models for member in contents.members], contents.combination, contents.signature
    )
    for index, member in enumerate(contents.members):
        for fold, model in enumerate(member.models):
            save_state(model, folder / weights_file(index, fold))
    save_state(contents.combination, folder / COMBINATION)
    save_scores(contents.nonconformity, folder / NONCONFORMITY)
    names = [f"member {member.trial}" for member in contents.members]
    write_programs(module, contents.signature, folder, programs=programs, members=names)
    plots = write_plots(report, folder)
    sources = write_sources(contents, folder)
    manifest = describe(
        contents,
        digests(folder),
        sources=sources,
        programs={program: FILES[program] for program in programs},
        documents=plots,
        sections=report.sections if report else {},
    )
    write_manifest(manifest, folder)
    verified = verify(folder, module, contents)
    worst = {form: max(values.values()) for form, values in verified.differences.items()}
    update = {"verified": worst, "verified_here": list(verified.here)}
    manifest = manifest.model_copy(update=update)
    write_card(manifest, contents, report, folder)
    documents = [CARD, *plots]
    final = {"documents": documents, "files": digests(folder)}
    write_manifest(manifest.model_copy(update=final), folder)


def _checked(programs: Sequence[str]) -> tuple[Program, ...]:
    for name in [programs] if isinstance(programs, str) else programs:
        if name not in PROGRAMS:
            raise BundleError(
                f"programs must be some of {', '.join(PROGRAMS)}, got {name!r}"
                f"{did_you_mean(name, PROGRAMS)}."
            )
    return tuple(program for program in PROGRAMS if program in programs)

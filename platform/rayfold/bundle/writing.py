"""Writing a bundle: all forms of an ensemble, checked in a fresh process before it appears."""

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rayfold.bundle.card import CardReport, check_report, write_card, write_plots
from rayfold.bundle.folder import bundle_folder, check_new_bundle, digests, sync
from rayfold.bundle.manifest import (
    CARD,
    COMBINATION,
    NONCONFORMITY,
    describe,
    weights_file,
    write_manifest,
)
from rayfold.bundle.programs import FILES, PROGRAMS, Program, write_programs
from rayfold.bundle.sources import write_sources
from rayfold.bundle.verification import verify
from rayfold.bundle.weights import save_scores, save_state
from rayfold.ensemble.ensemble import Ensemble
from rayfold.ensemble.predictor import EnsembleModule
from rayfold.ensemble.records import Contents
from rayfold.errors import BundleError, did_you_mean
from rayfold.storage import fsync_folder


def export_bundle(
    ensemble: Ensemble,
    folder: str | Path,
    *,
    licence: str | None = None,
    programs: Sequence[str] = PROGRAMS,
    report: CardReport | None = None,
) -> Path:
    """Write an ensemble as a bundle, which ``load_bundle`` reads; return its folder.

    Each form is loaded in a fresh process and compared with the ensemble. Then the whole folder
    appears at once, or not at all.

    Args:
        ensemble: An ensemble that was built, or loaded with its weights.
        folder: A folder that does not exist yet.
        licence: The licence, such as ``"CC-BY-4.0"``; None: that of the bundle that the ensemble
            was loaded from, if any.
        programs: Programs to write besides the weights: ``"torch"`` (``torch.export``) and
            ``"onnx"``, which run without the models' classes.
        report: Sections and plots for the model card, from ``Ensemble.report`` or ``find_out``;
            None: those of the bundle that the ensemble was loaded from, if any.

    Raises:
        BundleError: If ``folder`` exists or cannot be written; if the ensemble was loaded as a
            program; if a model cannot be exported as one; or if the written bundle predicts
            something else.
    """
    if ensemble.program is not None:
        raise BundleError(
            "this ensemble was loaded as a program; load its weights to export it again."
        )
    contents, folder = ensemble.contents, bundle_folder(folder)
    _check_card(licence, report)
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
    return folder


def _check_card(licence: object, report: object) -> None:
    """Check the licence, the programs and the report, which go into the card."""
    if licence is not None and (not isinstance(licence, str) or not licence.strip()):
        raise BundleError(f"licence must be a text such as 'CC-BY-4.0', got {licence!r}.")
    if report is not None and not (hasattr(report, "sections") and hasattr(report, "plots")):
        raise BundleError(
            f"report must be what Ensemble.report or find_out return, got {report!r}."
        )


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

"""The model card of a bundle: ``README.md`` for people, with the sections of a report."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

from rayfold.bundle.manifest import CARD, Manifest
from rayfold.ensemble.records import Contents
from rayfold.errors import BundleError

PLOTS: Final = "plots"

_PLOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\.png", re.ASCII)
_PNG = b"\x89PNG\r\n\x1a\n"


class CardReport(Protocol):
    """Sections and plots that a report adds to a card.

    Attributes:
        sections: Markdown by title, in order; ``![what](plots/NAME)`` shows a plot.
        plots: PNG files by name, such as ``"reliability.png"``. Plots that no section shows come
            after the sections.
    """

    @property
    def sections(self) -> Mapping[str, str]:
        """Markdown by title."""

    @property
    def plots(self) -> Mapping[str, bytes]:
        """PNG files by name."""


def check_report(report: CardReport | None) -> None:
    """Check a report's plots, before anything is written.

    Raises:
        BundleError: If a name is not a plain ``NAME.png``, or a file is not a PNG.
    """
    for name, content in (report.plots if report else {}).items():
        if not _PLOT_NAME.fullmatch(name):
            raise BundleError(
                f"report.plots: {name!r} is no name of a plot; use letters, digits, - and _, and "
                "the ending .png."
            )
        if not content.startswith(_PNG):
            raise BundleError(f"report.plots: {name} is no PNG; save the plot in that format.")


def write_plots(report: CardReport | None, folder: Path) -> list[str]:
    """Write a report's plots into a bundle's folder; return their paths in it."""
    names = []
    for name, content in (report.plots if report else {}).items():
        (folder / PLOTS).mkdir(exist_ok=True)
        (folder / PLOTS / name).write_bytes(content)
        names.append(f"{PLOTS}/{name}")
    return names


def write_card(
    manifest: Manifest, contents: Contents, report: CardReport | None, folder: Path
) -> None:
    """Write ``README.md`` into a bundle's folder."""
    blocks = [
        _front_matter(manifest),
        *_introduction(manifest, contents),
        *_members(manifest),
        *_reported(report),
        *_usage(manifest),
        *_provenance(manifest),
    ]
    (folder / CARD).write_text("\n\n".join(blocks) + "\n")


def _front_matter(manifest: Manifest) -> str:
    licence = [f"license: {_text(manifest.licence)}"] if manifest.licence else []
    lines = ["---", "library_name: rayfold", *licence, f"tags: [ensemble, {manifest.task}]", "---"]
    return "\n".join(lines)


def _introduction(manifest: Manifest, contents: Contents) -> Iterator[str]:
    signature, origin = contents.signature, contents.origin
    yield f"# Ensemble of {_text(origin.study)}"
    num_models = sum(len(member.folds) for member in manifest.members)
    combined_by = manifest.combination.kind.replace("_", " ")
    if (temperature := getattr(contents.combination, "temperature", None)) is not None:
        combined_by += f" at temperature {float(temperature):.3g}"
    yield (
        f"{_number(len(manifest.members), 'trial')} of {_number(num_models, 'model')}, each "
        f"trained on other folds, combined by {combined_by} for {signature.task}. Over all rows "
        f"of the training data, each predicted by models that did not see it, in an ensemble that "
        f"was not chosen on it, the mean {signature.task.loss_name} is "
        f"{manifest.nested_loss:.4g}; that of the best trial alone is "
        f"{manifest.single_best_loss:.4g}."
    )
    yield _text(f"Why these: {manifest.reason}")
    yield "## Signature"
    yield _table(
        ["input", "type", "shape"],
        [
            [entry.name, entry.dtype, ", ".join(["rows", *map(str, entry.shape)])]
            for entry in signature.inputs
        ],
    )
    notes = "Rows come as they are in the data file"
    if any(entry.dtype == "uint8" for entry in signature.inputs):
        notes += "; bytes (`uint8`) are divided by 255 inside"
    for entry in signature.inputs:
        if entry.channels == "last":
            notes += f"; the channels of {_text(entry.name)} are its last axis"
    if signature.classes:
        shown = ", ".join(_text(repr(c)) for c in signature.classes[:20])
        more = f" and {len(signature.classes) - 20} more" if len(signature.classes) > 20 else ""
        yield (
            f"{notes}. For each row the probabilities of {signature.num_outputs} classes come "
            f"out, in this order: {shown}{more}."
        )
    else:
        yield f"{notes}. For each row {_number(signature.num_outputs, 'value')} come out."


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _members(manifest: Manifest) -> Iterator[str]:
    yield "## Members"
    yield _table(
        ["study", "trial", "weight", "score", "out-of-fold loss", "models", "configuration"],
        [
            [
                manifest.studies.get(member.study_id, member.study_id),
                member.trial,
                f"{member.weight:.3f}",
                "" if member.score is None else f"{member.score:.4g}",
                f"{member.out_of_fold_loss:.4g}",
                str(len(member.folds)),
                ", ".join(
                    f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
                    for name, value in member.config.items()
                ),
            ]
            for member in manifest.members
        ],
    )


def _reported(report: CardReport | None) -> Iterator[str]:
    if report is None:
        return
    for title, text in report.sections.items():
        yield f"## {_text(title)}"
        yield text.strip()
    shown = "\n".join(report.sections.values())
    for name in report.plots:
        if f"{PLOTS}/{name}" not in shown:
            yield f"![{name.removesuffix('.png')}]({PLOTS}/{name})"


def _usage(manifest: Manifest) -> Iterator[str]:
    yield "## Use"
    yield "Run in this folder. Nothing is fetched from a network."
    arrays = [
        f"np.zeros({(3, *entry.shape)}, np.{_given_type(entry.dtype)})"
        for entry in manifest.inputs
    ]
    features = arrays[0] if len(arrays) == 1 else f"({', '.join(arrays)})"
    models = sorted({member.model.reference for member in manifest.members})
    own = all(reference.startswith("rayfold.models.") for reference in models)
    named = ", ".join(f"`{_text(name)}`" for name in models)
    allow = "" if own else ", allow_code=True"
    predict = "predict_proba" if manifest.signature.task.probabilities else "predict"
    yield (
        "The weights, with Rayfold (`pip install rayfold`)"
        + ("" if own else f"; this runs the code of {named}")
        + ":"
    )
    yield _code(
        "import numpy as np\nimport rayfold as rf\n\n"
        f'ensemble = rf.load_bundle("."{allow})\n'
        f"features = {features}\n"
        f"print(ensemble.{predict}(features))"
    )
    tensors = ", ".join(
        f"torch.zeros({(3, *entry.shape)}, dtype=torch.{_program_type(entry.dtype)})"
        for entry in manifest.inputs
    )
    if "torch" in manifest.programs:
        yield (
            "The program of PyTorch, without Rayfold; PyTorch evaluates expressions of the file, "
            "so load it only if you trust its source:"
        )
        yield _code(
            "import torch\n\n"
            f'program = torch.export.load("{manifest.programs["torch"]}").module()\n'
            f"print(program({tensors}))"
        )
    if "onnx" in manifest.programs:
        inputs = ", ".join(
            f"{entry.name!r}: np.zeros({(3, *entry.shape)}, np.{_program_type(entry.dtype)})"
            for entry in manifest.inputs
        )
        yield "The program of ONNX (`pip install onnxruntime`):"
        yield _code(
            "import numpy as np\nimport onnxruntime\n\n"
            f'session = onnxruntime.InferenceSession("{manifest.programs["onnx"]}")\n'
            f"[predictions] = session.run(None, {{{inputs}}})\nprint(predictions)"
        )
    yield "On the command line:"
    yield "```\nrayfold predict . data.h5\nrayfold serve .\n```"


def _provenance(manifest: Manifest) -> Iterator[str]:
    yield "## Where it comes from"
    yield _table(
        ["study", "id", "run in MLflow"],
        [[name, id, manifest.runs.get(id, "")] for id, name in manifest.studies.items()],
    )
    test = ", ".join(f"{name} {value}" for name, value in manifest.test if value)
    yield (
        f"Data {manifest.digests.data[:12]}, folds {manifest.digests.folds[:12]} (digests). "
        + (f"Test rows that no member saw: {_text(test)}." if test else "No test rows were kept.")
    )
    yield "## Checked at export"
    if manifest.verified_here:
        yield (
            "Each form was compared with the ensemble at 1, 2 and 17 rows. The weights were "
            "loaded in the process that exported them, since a fresh one did not find the models' "
            "classes; programs, if there are any, in a fresh process without pickle."
        )
    else:
        yield (
            "Each form was loaded in a fresh process, without pickle, and compared with the "
            "ensemble at 1, 2 and 17 rows."
        )
    yield f"Greatest difference{_unit(manifest)}:"
    yield _table(
        ["form", "difference"],
        [[form, f"{difference:.1e}"] for form, difference in manifest.verified.items()],
    )
    yield "## Versions"
    yield _table(["", "version"], [[name, value] for name, value in manifest.versions.items()])
    yield "## Licence"
    yield _text(manifest.licence) if manifest.licence else "None was given."


def _unit(manifest: Manifest) -> str:
    """Return the unit of differences; see ``verification.TOLERANCE``."""
    if not manifest.signature.task.quantities:
        return ""
    if manifest.spread is None:
        return ", of values above 1 relative to them"
    return ", in standard deviations of what was trained on, of larger values relative to them"


def _given_type(dtype: str) -> str:
    return "bool_" if dtype == "bool" else dtype


def _program_type(dtype: str) -> str:
    return "uint8" if dtype == "uint8" else "float32"


def _code(source: str) -> str:
    return f"```python\n{source}\n```"


def _table(header: list[str], rows: Iterable[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: str | None) -> str:
    """Return a text as one line that fits into a cell of a table."""
    return " ".join(str(value).split()).replace("|", "\\|")

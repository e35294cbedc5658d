import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from torch import nn

from rayfold.bundle import export_bundle, load_bundle
from rayfold.ensemble import Ensemble
from rayfold.errors import BundleError

PNG = b"\x89PNG\r\n\x1a\n and more"


@dataclass
class Findings:
    sections: dict[str, str] = field(default_factory=dict)
    plots: dict[str, bytes] = field(default_factory=dict)


def test_the_card_tells_what_it_is_and_where_it_comes_from(bundle: Path) -> None:
    card = (bundle / "README.md").read_text()
    for text in (
        "license: CC-BY-4.0",
        "# Ensemble of digits",
        "| features | float64 | rows, 2 |",
        "| digits | 0003 | 0.750 | 0.5 | 0.25 | 2 | model.scale=1, batch_size=32 |",
        f"| digits | {'a' * 32} | {'c' * 32} |",
        "Test rows that no member saw: fraction 0.2.",
        "| weights | 0.0e+00 |",
    ):
        assert text in card


def test_each_snippet_of_the_card_runs(bundle: Path) -> None:
    """The class of this bundle is nowhere to be imported, so that weights are left out."""
    snippets = re.findall(r"```python\n(.*?)```", (bundle / "README.md").read_text(), re.DOTALL)
    assert len(snippets) == 3
    assert 'rf.load_bundle(".", allow_code=True)' in snippets[0]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "\n".join(snippets[1:])],
        capture_output=True,
        text=True,
        check=False,
        cwd=bundle,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("4.") == 6  # 0.75 * 2 + 0.25 * 10, of three rows, twice


def test_a_report_is_in_the_card_and_its_plots_are_in_the_bundle_and_in_its_exports(
    regression: Ensemble, tmp_path: Path, shift_class: type[nn.Module]
) -> None:
    report = Findings(
        sections={"Calibration": "Good.\n\n![bins](plots/bins.png)"},
        plots={"bins.png": PNG, "losses.png": PNG},
    )
    folder = export_bundle(regression, tmp_path / "bundle", programs=(), report=report)
    card = (folder / "README.md").read_text()
    assert (
        "## Calibration\n\nGood.\n\n![bins](plots/bins.png)\n\n![losses](plots/losses.png)" in card
    )
    assert (folder / "plots/bins.png").read_bytes() == PNG
    loaded = load_bundle(folder, models={"net:Shift": shift_class})
    again = export_bundle(loaded, tmp_path / "again", programs=())
    assert (again / "README.md").read_text() == card
    assert (again / "plots/losses.png").read_bytes() == PNG


def test_the_card_says_where_weights_were_checked_that_no_other_process_could_load(
    regression: Ensemble, tmp_path: Path
) -> None:
    """The class is one of this function alone."""

    class Local(type(regression.members[0].models[0])):  # type: ignore[misc]
        pass

    for member in regression.members:
        member.__dict__["models"] = (Local(**member.arguments).eval(),)
    folder = export_bundle(regression, tmp_path / "bundle", programs=())
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["verified"], manifest["verified_here"]) == ({"weights": 0.0}, ["weights"])
    card = (folder / "README.md").read_text()
    assert "The weights were loaded in the process that exported them, since a fresh one" in card
    assert "Each form was loaded in a fresh process" not in card


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("../bins.png", PNG, r"report\.plots: '\.\./bins\.png' is no name of a plot"),
        ("bins.svg", PNG, r"report\.plots: 'bins\.svg' is no name of a plot"),
        ("bins.png", b"GIF89a", r"report\.plots: bins\.png is no PNG"),
    ],
)
def test_plots_that_are_none_are_refused(
    regression: Ensemble, tmp_path: Path, name: str, content: bytes, match: str
) -> None:
    with pytest.raises(BundleError, match=match):
        export_bundle(regression, tmp_path / "bundle", report=Findings(plots={name: content}))
    assert list(tmp_path.iterdir()) == []

from pathlib import Path

import pandas as pd
import pytest

from rayfold.ensemble import Ensemble, Findings, Report, find_out
from rayfold.ensemble.evaluation.scores import Interval, Scores
from rayfold.errors import EnsembleError

SCORES = Scores(num_rows=10, loss=Interval(0.5, 0.4, 0.6))


def findings() -> Findings:
    return Findings(
        report=Report(
            reason="best(...) is the only one.",
            nested=SCORES,
            single_best=SCORES,
            builders={"best(num_members=1)": (0.5, 0.1)},
        ),
        members=pd.DataFrame({"trial": ["0003", "0001"], "weight": [0.75, 0.25]}),
        hyperparameters={
            "digits": pd.DataFrame({"parameter": ["model.width"], "importance": [1.0]}),
            "letters": "study 'letters' has 3 completed trials; run more.",
        },
        features=pd.DataFrame(
            {
                "input": ["features"] * 30,
                "place": [(place,) for place in range(30)],
                "importance": [1 / (1 + place) for place in range(30)],
            }
        ),
    )


def test_findings_are_a_folder_of_text_plots_and_whole_tables(tmp_path: Path) -> None:
    """Thirty features are in the table, of which the text shows twenty."""
    findings().write(tmp_path / "report")
    names = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert names == [
        "README.md",
        "builders.png",
        "features.csv",
        "features.png",
        "hyperparameters-0.csv",
        "hyperparameters-0.png",
        "members.csv",
        "members.png",
        "scores.csv",
    ]
    text = (tmp_path / "report/README.md").read_text()
    assert text.startswith("# Ensemble of digits, letters\n\nbest(...) is the only one.\n")
    assert "## What matters for the score, in digits\n\n| parameter | importance |" in text
    assert "in letters\n\nstudy 'letters' has 3 completed trials; run more." in text
    assert text.count("| features | (") == 20
    assert all(f"({name})" in text for name in names if name.endswith(".png"))
    assert len(pd.read_csv(tmp_path / "report/features.csv")) == 30
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(EnsembleError, match="exists already; write the report to a new folder"):
        findings().write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnsembleError, match=r"cannot be written \(Not a directory\); write the"):
        findings().write(tmp_path / "file" / "report")


def test_wrong_arguments_are_told(regression: Ensemble) -> None:
    with pytest.raises(EnsembleError, match="num_repeats must be at least 0, and 0 without data"):
        find_out(regression, num_repeats=1)
    with pytest.raises(EnsembleError, match="a loaded ensemble has no out-of-fold predictions"):
        find_out(regression)

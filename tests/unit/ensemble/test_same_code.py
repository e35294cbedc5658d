"""Trials of other code do not reach an ensemble."""

import logging
from pathlib import Path
from typing import Any

import pytest

from rayfold.ensemble.same_code import check_trials_left, of_present_code
from rayfold.errors import EnsembleError
from rayfold.library import model_source
from rayfold.tracking import LoggedStudy, LoggedTrial
from tests.descriptions import study_description

NET = "from torch import nn\n\n\nclass Net(nn.Module):\n    depth = {depth}\n"
OTHER = "0" * 64


@pytest.fixture
def present(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The digest of ``./net.py``."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET.format(depth=1))
    return model_source("./net.py:Net").digest


def study(*codes: str, folds: tuple[int, ...] = (0, 1), model: str = "./net.py:Net") -> Any:
    nowhere: Any = None  # artifacts are not read here
    trials = tuple(
        LoggedTrial(
            run_id=f"{number:032}",
            id=f"{number:04}",
            config={},
            status="completed",
            score=0.5,
            standard_error=None,
            folds=folds,
            data_digest="",
            fold_digest="",
            code=code,
            _downloads=nowhere,
        )
        for number, code in enumerate(codes)
    )
    return LoggedStudy(
        name="digits",
        id="a" * 32,
        run_id="b" * 32,
        description=study_description(model=model),
        trials=trials,
        _downloads=nowhere,
    )


def ids(studies: tuple[LoggedStudy, ...]) -> list[list[str]]:
    return [[trial.id for trial in study.trials] for study in studies]


def test_trials_of_other_code_are_left_out_and_named_in_one_warning(
    present: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        kept = of_present_code([study(present, OTHER, present, "1" * 64)], None)
    assert ids(kept) == [["0000", "0002"]]
    assert caplog.messages == [
        "2 of 4 trials of study digits are left out: they were trained with other code than "
        "./net.py:Net has now (0001, 0003)."
    ]


def test_very_many_are_not_all_named(present: str, caplog: pytest.LogCaptureFixture) -> None:
    of_present_code([study(present, *[OTHER] * 9)], None)
    assert caplog.messages[0].endswith("(0001, 0002, 0003, 0004, 0005, ...).")


def test_trials_whose_code_is_not_known_are_kept(
    present: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert ids(of_present_code([study("", present, "")], None)) == [["0000", "0001", "0002"]]
    assert caplog.messages == []


def test_an_installed_model_has_versions_and_no_digest(caplog: pytest.LogCaptureFixture) -> None:
    kept = of_present_code([study("", "", model="rayfold.models.mlp:MLP")], None)
    assert ids(kept) == [["0000", "0001"]]
    assert caplog.messages == []


def test_the_model_that_is_passed_counts_and_not_the_logged_one(present: str) -> None:
    Path("other.py").write_text(NET.format(depth=2))
    digest = model_source("./other.py:Net").digest
    kept = of_present_code([study(present, digest)], "./other.py:Net")
    assert ids(kept) == [["0001"]]


def test_a_file_that_is_gone_is_told_where_its_model_is_built(present: str) -> None:
    Path("net.py").unlink()
    assert ids(of_present_code([study(present, OTHER)], None)) == [["0000", "0001"]]


def test_it_is_refused_if_all_trials_with_weights_are_of_other_code(present: str) -> None:
    studies = [study(present, folds=()), study(OTHER)]
    kept = of_present_code(studies, None)
    with pytest.raises(
        EnsembleError,
        match=r"^all trials were trained with other code than \./net\.py:Net has now; put that "
        r"back \(its text is below code/ in the study's folder",
    ):
        check_trials_left(studies, kept, None)
    check_trials_left(studies, studies, None)


def test_no_trial_at_all_is_told_elsewhere(present: str) -> None:
    studies = [study(), study(OTHER, folds=())]
    check_trials_left(studies, of_present_code(studies, None), None)
    assert ids(of_present_code(studies, None)) == [[], []]

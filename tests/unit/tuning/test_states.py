import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from rayfold.jobs import fold_folder, lineage_folder
from rayfold.training.checkpoint import checkpoint_path
from rayfold.tuning.states import drop_earlier_lineages, remove_states, take_over


def write(study: Path, trial: str, fold: int, lineage: int, epoch: int, text: str) -> Path:
    folder = study / lineage_folder(fold_folder(trial, fold), lineage)
    folder.mkdir(parents=True, exist_ok=True)
    path = checkpoint_path(folder, epoch, milestone=True)
    path.write_text(text)
    return path


def files(study: Path, trial: str) -> dict[str, str]:
    folder = study / "trials" / trial
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def copy(study: Path, **changes: Any) -> tuple[str, ...]:
    call: dict[str, Any] = {
        "trial": "0001",
        "lineage": 1,
        "donor": "0000",
        "donor_lineage": 2,
        "epoch": 4,
        "num_folds": 2,
    }
    return take_over(study, **{**call, **changes})


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Trial 0000 in its lineage 2 and trial 0001 in its first, with two folds each."""
    for fold in (0, 1):
        write(tmp_path, "0000", fold, 2, 4, f"donor {fold}")
        write(tmp_path, "0001", fold, 0, 6, f"own {fold}")
    return tmp_path


def test_each_fold_gets_the_same_fold_of_the_donor(study: Path) -> None:
    digests = copy(study)
    assert digests == tuple(hashlib.sha256(text).hexdigest() for text in (b"donor 0", b"donor 1"))
    assert files(study, "0001") == {
        "fold_0/lineage_1/milestone_00004.pt": "donor 0",
        "fold_0/milestone_00006.pt": "own 0",
        "fold_1/lineage_1/milestone_00004.pt": "donor 1",
        "fold_1/milestone_00006.pt": "own 1",
    }


def test_the_donors_next_checkpoints_leave_the_copy_as_it_is(study: Path) -> None:
    copy(study)
    for fold in (0, 1):
        checkpoint_path(
            study / lineage_folder(fold_folder("0000", fold), 2), 4, milestone=True
        ).unlink()
    assert files(study, "0001")["fold_0/lineage_1/milestone_00004.pt"] == "donor 0"


def test_files_are_copied_where_they_cannot_be_linked(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    linked = copy(study)
    monkeypatch.setattr(os, "link", refuse)
    assert copy(study) == linked
    assert files(study, "0001")["fold_1/lineage_1/milestone_00004.pt"] == "donor 1"


def test_a_state_that_is_gone_in_one_fold_is_taken_over_in_none(study: Path) -> None:
    next((study / "trials" / "0000" / "fold_1").rglob("*.pt")).unlink()
    with pytest.raises(FileNotFoundError):
        copy(study)
    assert sorted(files(study, "0001").values()) == ["own 0", "own 1"]


def test_what_a_crash_has_left_is_replaced(study: Path) -> None:
    write(study, "0001", 0, 1, 8, "torn")
    copy(study)
    assert "torn" not in files(study, "0001").values()


def test_earlier_lineages_go_with_their_results(study: Path) -> None:
    (study / "trials" / "0001" / "fold_0" / "result.json").write_text("{}")
    copy(study)
    copy(study, lineage=2)
    drop_earlier_lineages(study, "0001", 2, num_folds=2)
    assert list(files(study, "0001")) == [
        "fold_0/lineage_2/milestone_00004.pt",
        "fold_1/lineage_2/milestone_00004.pt",
    ]


def test_all_states_of_a_trial_go_and_nothing_else(study: Path) -> None:
    copy(study)
    weights = study / "trials" / "0001" / "fold_0" / "weights.safetensors"
    weights.write_text("w")
    remove_states(study, "0001")
    assert files(study, "0001") == {"fold_0/weights.safetensors": "w"}
    assert len(files(study, "0000")) == 2

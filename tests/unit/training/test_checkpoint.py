from pathlib import Path
from typing import Any

import pytest
import torch

from rayfold.training.checkpoint import (
    checkpoint_path,
    load_checkpoint,
    newest_checkpoint,
    newest_epoch,
    remove_checkpoints,
    save_checkpoint,
)

CPU = torch.device("cpu")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {"weights": torch.tensor([1.5, -2.0]), "history": [{"val_loss": 0.5}], "epoch": 3}
    loaded = load_checkpoint(save_checkpoint(tmp_path / "fold_0", 3, state), CPU)
    assert loaded["weights"].tolist() == [1.5, -2.0]
    assert (loaded["history"], loaded["epoch"]) == ([{"val_loss": 0.5}], 3)


def test_a_checkpoint_is_named_by_its_epoch(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 12, {})
    assert path == checkpoint_path(tmp_path, 12) == tmp_path / "epoch_00012.pt"


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for epoch in (8, 9, 10, 11):
        save_checkpoint(tmp_path, epoch, {})
    assert names(tmp_path) == ["epoch_00010.pt", "epoch_00011.pt"]
    assert newest_checkpoint(tmp_path) == tmp_path / "epoch_00011.pt"


def test_a_fold_without_checkpoints_has_no_newest(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "absent") is None


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    for name in ("result.json", ".epoch_00009.pt.12.tmp", "epoch_9.pt"):
        (tmp_path / name).write_text("")
    assert newest_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, 1, {})
    remove_checkpoints(tmp_path)
    assert names(tmp_path) == [".epoch_00009.pt.12.tmp", "epoch_9.pt", "result.json"]


def test_an_error_while_writing_leaves_the_old_ones(tmp_path: Path) -> None:
    for epoch in (1, 2):
        save_checkpoint(tmp_path, epoch, {"epoch": epoch})

    with pytest.raises((AttributeError, TypeError), match="pickle"):
        save_checkpoint(tmp_path, 3, {"tensor": torch.ones(1000), "epoch": lambda: 3})
    assert names(tmp_path) == ["epoch_00001.pt", "epoch_00002.pt"]
    assert load_checkpoint(tmp_path / "epoch_00002.pt", CPU) == {"epoch": 2}


def test_an_error_leaves_the_same_epoch_as_it_was_before(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 2, {"epoch": 2})
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        save_checkpoint(tmp_path, 2, {"epoch": lambda: 3})
    assert load_checkpoint(tmp_path / "epoch_00002.pt", CPU) == {"epoch": 2}


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "epoch_00001.pt", tmp_path / "was_run"
    torch.save({"weights": Touch(trace)}, path)
    with pytest.raises(Exception, match="Weights only load failed"):
        load_checkpoint(path, CPU)
    assert not trace.exists()


def test_all_checkpoints_of_a_fold_that_is_done_go(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, {})
    save_checkpoint(tmp_path, 2, {})
    remove_checkpoints(tmp_path)
    remove_checkpoints(tmp_path / "absent")
    assert names(tmp_path) == []


def test_milestones_and_other_checkpoints_do_not_push_each_other_out(tmp_path: Path) -> None:
    """Two of each kind are kept, and the one with the highest epoch is the newest."""
    for epoch in (2, 4, 6):
        save_checkpoint(tmp_path, epoch, {}, milestone=True)
        for extra in (0, 1):
            save_checkpoint(tmp_path, epoch + extra, {})
    assert names(tmp_path) == [
        "epoch_00006.pt",
        "epoch_00007.pt",
        "milestone_00004.pt",
        "milestone_00006.pt",
    ]
    assert newest_epoch(tmp_path) == 7
    save_checkpoint(tmp_path, 8, {}, milestone=True)
    assert newest_checkpoint(tmp_path) == tmp_path / "milestone_00008.pt"
    remove_checkpoints(tmp_path)
    assert (names(tmp_path), newest_epoch(tmp_path)) == ([], 0)

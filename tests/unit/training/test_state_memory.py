import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from rayfold.training.checkpoint import save_checkpoint
from rayfold.training.state_memory import StateMemory, file_identity

State = dict[str, Any]


def make_state() -> State:
    """16 bytes of tensors."""
    return {
        "model": {"weight": torch.tensor([0.5, 1.0])},
        "optimizer": {"state": {0: {"exp_avg": torch.tensor([2.0])}}, "betas": (0.9, 0.99)},
        "generators": [torch.zeros(4, dtype=torch.uint8)],
        "history": [{"val_loss": 0.5}],
    }


def kept(memory: StateMemory, folder: Path, state: State) -> Path:
    """Write a state, keep it, and return its file."""
    path = save_checkpoint(folder, 2, state, milestone=True)
    identity = file_identity(path)
    assert identity is not None
    memory.keep(identity, state)
    return path


@pytest.fixture
def memory() -> StateMemory:
    return StateMemory()


def test_a_state_is_kept_without_a_copy_of_its_tensors(
    memory: StateMemory, tmp_path: Path
) -> None:
    state = make_state()
    found = memory.find(kept(memory, tmp_path, state))
    assert found is not None
    assert found["model"]["weight"].data_ptr() == state["model"]["weight"].data_ptr()
    assert found["optimizer"]["betas"] == (0.9, 0.99)
    assert found["history"] == [{"val_loss": 0.5}]


def test_it_is_found_through_a_link_and_after_its_own_name_is_gone(
    memory: StateMemory, tmp_path: Path
) -> None:
    path = kept(memory, tmp_path / "donor", make_state())
    link = tmp_path / "milestone_00002.pt"
    os.link(path, link)
    path.unlink()
    assert memory.find(link) is not None
    assert memory.find(path) is None


def test_a_copy_of_the_file_has_to_be_read(memory: StateMemory, tmp_path: Path) -> None:
    path = kept(memory, tmp_path, make_state())
    assert memory.find(Path(shutil.copy2(path, tmp_path / "copy.pt"))) is None


def test_a_file_that_was_written_anew_has_to_be_read(memory: StateMemory, tmp_path: Path) -> None:
    """Another group has trained the same fold to the same milestone."""
    path = kept(memory, tmp_path, make_state())
    save_checkpoint(tmp_path, 2, make_state(), milestone=True)
    assert memory.find(path) is None


def test_a_file_that_cannot_be_seen_has_no_identity(memory: StateMemory, tmp_path: Path) -> None:
    assert file_identity(tmp_path / "absent.pt") is None
    assert memory.find(tmp_path / "absent.pt") is None


@pytest.mark.parametrize(
    ("max_bytes", "expected"),
    [
        (48, [True, True, True]),
        (47, [False, True, True]),
        (16, [False, False, True]),
        (15, [False, False, False]),
    ],
)
def test_the_oldest_go_when_there_are_too_many_bytes(
    tmp_path: Path, max_bytes: int, expected: list[bool]
) -> None:
    """Three states of 16 bytes each."""
    memory = StateMemory(max_bytes)
    paths = [kept(memory, tmp_path / str(number), make_state()) for number in range(3)]
    assert [memory.find(path) is not None for path in paths] == expected

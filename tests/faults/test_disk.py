"""A full disk: the study waits, goes on when there is room, and no trial pays for it."""

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import SmallStudy


@pytest.fixture
def on_small_disk(
    study: "SmallStudy", small_disk: tuple[Path, Callable[[str], None]]
) -> Callable[[str], None]:
    """The storage is on a disk of 6 MB, and the weights of a fold are 7 MB."""
    folder, enlarge = small_disk
    enlarge("6m")
    study.storage = folder
    study.environment = {"RAYFOLD_STORAGE": str(folder)}
    net = (study.folder / "net.py").read_text()
    net = net.replace("nn.Linear(input_shape[0], width)", "nn.Linear(input_shape[0], 250_000)")
    net = net.replace("nn.Linear(width, num_outputs)", "nn.Linear(250_000, num_outputs)")
    (study.folder / "net.py").write_text(net)
    return enlarge


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_study_waits_for_room_and_fails_no_trial(
    study: "SmallStudy",
    on_small_disk: Callable[[str], None],
    figures: Callable[[str, float], None],
) -> None:
    command = study.start()
    command.wait_until(lambda: "No space left on device" in command.output)
    assert "The study waits for 10 minutes at most" in command.output
    command.send(signal.SIGINT)
    assert command.status() == 130, command.output
    assert command.leaves_nothing()
    assert study.statuses == {}
    command = study.start()
    command.wait_until(lambda: "No space left on device" in command.output)
    on_small_disk("200m")
    began = time.monotonic()
    command.wait_until(lambda: "The fault is over; the study continues." in command.output)
    figures("room to going on", began)
    assert command.status() == 0, command.output
    assert command.output.count("The study waits") == 1
    assert command.leaves_nothing()
    study.check_whole({})


def test_a_journal_that_cannot_begin_is_told_as_that(
    study: "SmallStudy", on_small_disk: Callable[[str], None]
) -> None:
    """The disk holds not even the journal's first lines: nothing is started."""
    fill(study.storage / "other")
    command = study.run()
    assert command.process.returncode == 75, command.output
    [line] = command.output.splitlines()
    assert line.startswith("rayfold: ")
    assert f"No space left on device (0 B of 6.29 MB free on {study.storage})" in line

"""Signals to a run and deaths of its processes, in one study that is taken up again and again."""

import random
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Command, SmallStudy

Figures: TypeAlias = Callable[[str, float], None]

RANDOM_SEED = 13
NUM_MOMENTS = 10
START_SECONDS = 30.0
"""About how long a run takes to its first fold."""

END_SECONDS = 30.0
"""How long a run may take to end after a death of Ray's."""

RAY = {"raylet": "raylet/raylet", "control service": "gcs_server", "dispatcher": "ray::Dispatcher"}


def training(study: "SmallStudy") -> "Command":
    """Start a run, and wait until it has trained a fold."""
    before = len(study.results)
    command = study.start()
    command.wait_until(lambda: len(study.results) > before)
    return command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_ends_a_run_in_order(
    long_study: "SmallStudy", number: signal.Signals, figures: Figures
) -> None:
    command = training(long_study)
    before, began = long_study.results, time.monotonic()
    command.send(number)
    assert command.status() == 130, command.output
    figures(f"{number.name} to end", began)
    assert "Interrupted. Run " in command.output
    assert "Traceback" not in command.output
    assert command.leaves_nothing()
    assert long_study.entries[-1].fields["state"] == "interrupted"
    long_study.check_kept(before)


def test_a_second_signal_ends_a_run_at_once(long_study: "SmallStudy", figures: Figures) -> None:
    command = training(long_study)
    before = long_study.results
    command.send(signal.SIGINT)
    command.wait_until(lambda: "interrupt again to end at once" in command.output)
    began = time.monotonic()
    command.send(signal.SIGINT)
    assert command.status() == 130, command.output
    figures("second SIGINT to end", began)
    assert command.leaves_nothing()
    long_study.check_kept(before)


@pytest.mark.parametrize("which", RAY)
def test_a_run_without_ray_ends_with_one_line_and_can_go_on(
    long_study: "SmallStudy", which: str, figures: Figures
) -> None:
    command = training(long_study)
    before, said = long_study.results, len(command.output.splitlines())
    began = time.monotonic()
    command.kill_named(RAY[which])
    assert command.status(END_SECONDS) == 75, command.output
    figures(f"death of the {which} to end", began)
    lines = [line for line in command.output.splitlines()[said:] if line.startswith("rayfold: ")]
    assert len(lines) == 1, command.output
    assert which in lines[0]
    assert "again" in lines[0]
    assert "Traceback" not in command.output
    assert command.leaves_nothing(END_SECONDS)
    long_study.check_kept(before)


def test_a_driver_that_is_killed_at_ten_moments_loses_nothing(long_study: "SmallStudy") -> None:
    moments = random.Random(RANDOM_SEED)
    commands = []
    for _ in range(NUM_MOMENTS):
        before = long_study.results
        command = long_study.start()
        command.pause(moments.uniform(0.0, 1.5 * START_SECONDS))
        command.send(signal.SIGKILL)
        assert command.status() == -signal.SIGKILL
        long_study.check_kept(before)
        commands.append(command)
    assert all(command.leaves_nothing() for command in commands)


def test_a_run_goes_on_when_a_worker_and_a_trials_actor_are_killed(
    long_study: "SmallStudy", figures: Figures
) -> None:
    command = training(long_study)
    for name in ("ray::GroupWorker", "ray::ResourceTrainable"):
        before, began = long_study.results, time.monotonic()
        command.kill_named(name)
        command.wait_until(lambda: len(long_study.results) > len(before) + 1)  # noqa: B023
        figures(f"death of {name} to the second next fold", began)
        long_study.check_kept(before)
    command.send(signal.SIGINT)
    assert command.status() == 130, command.output
    assert command.leaves_nothing()


def test_in_the_end_all_is_there_once(long_study: "SmallStudy") -> None:
    """Whatever has happened: the trials in flight are completed, and MLflow holds each once."""
    begun, before = long_study.count("suggestion"), long_study.results
    command = long_study.run("--set", f"search.num_trials={begun + 1}")
    assert command.process.returncode == 0, command.output
    assert command.leaves_nothing()
    long_study.check_whole(before, num_trials=begun + 1)

"""Models that raise, return NaN, leak, exit, abort, segfault and hang, beside one that is well."""

import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ray._private.utils import get_system_memory, get_used_memory

if TYPE_CHECKING:
    from tests.faults.conftest import SmallStudy

MODEL = """
import ctypes
import os
import sys
import threading
import time

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, *, input_shape, num_outputs, does="well"):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], num_outputs)
        self.does = does

    def forward(self, features):
        ours = self.training and len(features) > 2  # `plan` tries each model on two rows
        return getattr(self, self.does)(features) if ours else self.layer(features)

    def well(self, features):
        return self.layer(features)

    def raises(self, features):
        raise RuntimeError("a model that raises")

    def nan(self, features):
        return self.layer(features) * float("nan")

    def leaks(self, features):
        kept = []
        while True:
            kept.append(b"x" * (1 << 25))
            time.sleep(0.02)

    def exits(self, features):
        sys.exit(3)

    def exits_at_once(self, features):
        os._exit(3)

    def aborts(self, features):
        os.abort()

    def segfaults(self, features):
        ctypes.string_at(0)

    def hangs(self, features):
        threading.Event().wait()
"""
BEHAVIOURS = {
    "well": None,
    "raises": "a model that raises",
    "nan": "diverged",
    "exits": "exit",
    "exits_at_once": "exit",
    "aborts": "SIGABRT",
    "segfaults": "SIGSEGV",
}


def with_models(study: "SmallStudy", *behaviours: str) -> None:
    (study.folder / "net.py").write_text(MODEL)
    study.change("model.width: {int: [4, 64]}", f"model.does: {{choice: {sorted(behaviours)}}}")
    configs = ", ".join(f"{{model.does: {name}, batch_size: 16}}" for name in behaviours)
    study.change("{random: {random_seed: 3}}", f"{{fixed: {{configs: [{configs}]}}}}")
    study.change("num_trials: 2", f"num_trials: {len(behaviours)}")


def test_each_model_that_fails_fails_alone_and_its_cause_is_told(study: "SmallStudy") -> None:
    with_models(study, *BEHAVIOURS)
    command = study.run()
    assert command.process.returncode == 0, command.output
    assert command.leaves_nothing()
    ends = [entry.fields for entry in study.entries if entry.event == "trial"]
    errors = {end["trial"]: end["error"] for end in ends}
    assert len(errors) == len(BEHAVIOURS)
    for number, text in enumerate(BEHAVIOURS.values()):
        error = errors[f"{number:04d}"]
        assert (error is None) == (text is None)
        assert text is None or text in error, error
    study.check_kept(study.results)
    study.check_tracked()


def test_a_model_that_hangs_is_ended_when_its_time_is_up(study: "SmallStudy") -> None:
    with_models(study, "hangs", "well")
    study.change("num_trials: 2", "num_trials: 2\n  max_time_per_trial: 10")
    command = study.run()
    assert command.process.returncode == 0, command.output
    assert command.leaves_nothing()
    assert study.statuses["0001"] == "completed"
    study.check_tracked()


def test_a_model_that_leaks_fails_alone_and_memory_is_told_as_its_cause(
    study: "SmallStudy",
) -> None:
    """Ray's own monitor kills it, here as soon as the machine has 6 GB less.

    It kills the newest processes first, so that the actors of trials go, too.
    """
    with_models(study, "leaks", "well")
    threshold = (get_used_memory() + (6 << 30)) / get_system_memory()
    study.environment = {"RAY_memory_usage_threshold": str(threshold)}
    command = study.run()
    assert command.process.returncode == 0, command.output
    assert command.leaves_nothing()
    assert study.statuses == {"0000": "failed", "0001": "completed"}
    [error] = [
        e.fields["error"] for e in study.entries if e.event == "trial" and e.fields["error"]
    ]
    assert "out of memory" in error
    study.check_tracked()


def test_a_study_in_which_all_fail_ends_with_status_1(study: "SmallStudy") -> None:
    with_models(study, "raises", "nan")
    command = study.run()
    assert command.process.returncode == 1, command.output
    assert study.statuses == {"0000": "failed", "0001": "failed"}


def test_one_ctrl_c_ends_a_run_whose_model_hangs(
    study: "SmallStudy", figures: Callable[[str, float], None]
) -> None:
    with_models(study, "hangs")
    command = study.start()
    command.wait_until(lambda: study.count("group"))
    began = time.monotonic()
    command.send(signal.SIGINT)
    assert command.status(within=30.0) == 130, command.output
    figures("SIGINT to end, of a model that hangs", began)
    assert command.leaves_nothing()

"""What a model's code changes of the process reaches no other model."""

import gc
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rayfold.process_guard import guarded_process


def mask() -> int:
    found = os.umask(0o022)
    os.umask(found)
    return found


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "errors of NumPy": (lambda: np.seterr(all="raise"), np.geterr),
    "filters of warnings": (
        lambda: warnings.simplefilter("ignore"),
        lambda: [*warnings.filters],
    ),
    "a new variable": (
        lambda: os.environ.update(RAYFOLD_TEST="1"),
        lambda: os.environ.get("RAYFOLD_TEST"),
    ),
    "a removed variable": (lambda: os.environ.pop("PATH"), lambda: os.environ.get("PATH")),
    "the folder": (lambda: os.chdir("/"), os.getcwd),
    "the mask of files": (lambda: os.umask(0o077), mask),
    "collection": (gc.disable, gc.isenabled),
    "logging": (lambda: logging.disable(logging.ERROR), lambda: logging.root.manager.disable),
    "recursion": (
        lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 7),
        sys.getrecursionlimit,
    ),
    "places of modules": (lambda: sys.path.insert(0, "/nowhere"), lambda: [*sys.path]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_setting_of_the_process_is_put_back(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    change, read = CHANGES[what]
    before = read()
    try:
        with guarded_process():
            change()
            assert read() != before
            raise KeyError
    except KeyError:
        pass
    assert read() == before


def replacement(*given: Any, **named: Any) -> None:
    """Stand where PyTorch's own code was."""


PATCHES: dict[str, tuple[Any, str]] = {
    "torch.nn's Linear.forward": (nn.Linear, "forward"),
    "an inherited method": (nn.Linear, "__call__"),
    "Module.__call__": (nn.Module, "__call__"),
    "a function": (nn.functional, "linear"),
    "a class": (nn, "Linear"),
    "torch's": (torch, "matmul"),
    "a tensor's": (torch.Tensor, "__add__"),
    "NumPy's": (np, "add"),
    "NumPy's random": (np.random, "default_rng"),
}


@pytest.mark.parametrize("what", PATCHES)
def test_replaced_code_of_pytorch_or_numpy_is_put_back_with_a_warning(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    place, name = PATCHES[what]
    before = getattr(place, name)
    with guarded_process():
        setattr(place, name, replacement)
    assert getattr(place, name) is before
    [record] = caplog.records
    assert record.getMessage().startswith(
        f"A model's code has replaced {place.__name__}.{name} for the whole process;"
    )


def test_ordinary_training_replaces_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with guarded_process():
        model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())
        optimizer = torch.optim.AdamW(model.parameters())
        model(torch.ones(3, 2)).sum().backward()
        optimizer.step()
    assert caplog.records == []


def test_what_pytorch_wraps_by_itself_is_no_patch() -> None:
    """Its compiler, imported late by data parallelism, wraps ``torch.manual_seed``."""
    code = (
        "import sys, torch\n"
        "from rayfold.process_guard import guarded_process\n"
        "before = torch.manual_seed\n"
        "with guarded_process() as replaced:\n"
        "    import torch._dynamo\n"
        "assert torch.manual_seed is not before\n"
        "print(replaced)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_a_block_within_a_block_tells_once(caplog: pytest.LogCaptureFixture) -> None:
    with guarded_process() as outer, guarded_process() as inner:
        nn.Linear.forward = replacement  # type: ignore[method-assign, assignment]
    assert (inner, outer) == (["Linear.forward"], [])
    assert len(caplog.records) == 1

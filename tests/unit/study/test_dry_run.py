"""The try of a model before anything starts: what is told, and what is not done."""

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from rayfold.errors import ModelError
from rayfold.search import Fixed
from rayfold.space import Choice, Float, Int, SearchSpace
from rayfold.study import Study
from rayfold.study import dry_run as module
from rayfold.study.preparation import Preparation

NET = """\
import ctypes, os, signal, sys, time
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, *, input_shape, num_outputs, width=4, fault="none"):
        super().__init__()
        print("a model prints")
        self.fault = fault
        self.first = nn.Linear(64, width)
        self.last = nn.Linear(8 if fault == "size" else width, num_outputs)

    def forward(self, rows):
        if self.fault == "hang":
            while True: pass
        if self.fault == "exit": sys.exit(3)
        if self.fault == "os._exit": os._exit(4)
        if self.fault == "segfault": ctypes.string_at(0)
        if self.fault == "helper" and os.fork() == 0:
            while True: time.sleep(1)
        if self.fault == "stop":
            os.write(os.open("number", os.O_WRONLY), str(os.getpid()).encode())
            os.kill(os.getpid(), signal.SIGSTOP)
        return self.last(self.first(rows.flatten(1)).relu())
"""


@pytest.fixture
def tried(make_study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Plans a study of ``Net`` and returns its lines about the model."""
    (tmp_path / "net.py").write_text(NET)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    def plan(
        space: SearchSpace, *, fault: str = "none", parameters: Any = None, **changes: Any
    ) -> list[str]:
        study = make_study(
            model="./net.py:Net",
            space=space,
            parameters={"model.fault": fault, **(parameters or {})},
            base=tmp_path,
            **changes,
        )
        lines = study.plan().lines()
        return [line for line in lines if line.startswith(("model", "warning    model"))]

    yield plan
    assert list(temporary.glob("rayfold-????????")) == []  # the try's own folder
    children = psutil.Process().children(recursive=True)
    assert [child for child in children if "rayfold.training.dry_run" in child.cmdline()] == []


def test_models_are_built_and_trained_at_the_ends_of_the_space(tried: Any) -> None:
    """64 x 4 + 4 and 4 x 3 + 3 parameters; of width 16 it is 64 x 16 + 16 and 16 x 3 + 3."""
    space = SearchSpace({"model.width": Int(4, 16), "batch_size": Choice(1, 8, 64)})
    [line] = tried(space)
    assert line.startswith("model      Net, 275 to 1,091 parameters (3 configurations tried in ")


def test_an_exception_is_told_with_file_line_and_configuration(tried: Any) -> None:
    """Its last layer takes 8 values, of which there are never so many."""
    with pytest.raises(ModelError) as caught:
        tried(SearchSpace({"model.width": Int(16, 32)}), fault="size")
    assert str(caught.value) == (
        "model './net.py:Net' tried with model.width=16: RuntimeError: mat1 and mat2 shapes "
        "cannot be multiplied (2x16 and 8x3) (net.py line 24, in forward)."
    )


def test_all_code_of_the_user_is_named(tried: Any, tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(
        "import torch\nclass Lazy(torch.optim.Optimizer):\n"
        "    def __init__(self, params, lr=0.1): super().__init__(params, {'lr': lr})\n"
    )
    with pytest.raises(ModelError) as told:
        tried(
            SearchSpace({"model.width": Int(8, 9)}),
            parameters={"optimizer.name": "./steps.py:Lazy"},
        )
    assert str(told.value).startswith(
        "model './net.py:Net' tried with './steps.py:Lazy', model.width=8: NotImplementedError"
    )


def test_where_some_configurations_work_the_others_are_warned_of(tried: Any) -> None:
    """Its last layer takes 8 values: the lower end fits, the upper one does not."""
    line, warning = tried(SearchSpace({"model.width": Int(8, 16)}), fault="size")
    assert line.startswith("model      Net, 547 parameters (1 configurations tried in ")
    assert warning == (
        "warning    model './net.py:Net' tried with model.width=16: RuntimeError: mat1 and mat2 "
        "shapes cannot be multiplied (2x16 and 8x3) (net.py line 24, in forward)."
    )


def test_a_model_that_no_ensemble_could_load_is_refused_with_the_cause(
    tried: Any, tmp_path: Path
) -> None:
    text = NET.replace("nn.Linear(64, width)", "[nn.Linear(64, width)]")
    (tmp_path / "net.py").write_text(text.replace("self.first(", "self.first[0]("))
    with pytest.raises(ModelError) as caught:
        tried(SearchSpace({"model.width": Int(8, 16)}))
    assert str(caught.value) == (
        "model './net.py:Net' tried with model.width=8: Net: state_dict() lacks some of what it "
        "predicts with; it is in first (modules in a plain list: use nn.ModuleList)."
    )


def test_a_crash_is_told_with_file_and_line(tried: Any) -> None:
    with pytest.raises(ModelError, match=r"ended by SIGSEGV \(net.py line 18, in forward\)"):
        tried(SearchSpace({"model.width": Int(8, 16)}), fault="segfault")


def test_a_process_that_the_model_starts_is_not_waited_for(tried: Any) -> None:
    """It holds the pipe that the try is told through, and lives on."""
    [line] = tried(SearchSpace({"model.width": Int(8, 16)}), fault="helper")
    assert "(2 configurations tried in " in line


@pytest.mark.slow
def test_the_try_ends_with_a_parent_that_is_killed(digits: Path, tmp_path: Path) -> None:
    """Though the model has stopped its process, whose number it tells before."""
    (tmp_path / "net.py").write_text(NET)
    os.mkfifo(tmp_path / "number")
    reader = os.open(tmp_path / "number", os.O_RDONLY | os.O_NONBLOCK)
    plan = (
        "import rayfold as rf; "
        f"rf.Study('stops', model='./net.py:Net', data=rf.HDF5({str(digits)!r}), "
        "space={'model.width': {'int': [1, 2]}}, parameters={'model.fault': 'stop'}).plan()"
    )
    parent = subprocess.Popen([sys.executable, "-c", plan], cwd=tmp_path)
    try:
        assert select.select([reader], [], [], 120)[0] == [reader]
        child = psutil.Process(int(os.read(reader, 20)))
    finally:
        os.close(reader)
        parent.kill()
        parent.wait()
    child.wait(30)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("exit", r"it calls sys.exit\(3\) \(net.py line 16, in forward\)"),
        ("os._exit", r"its process ended with status 4 \(net.py line 17, in forward\)"),
    ],
)
def test_a_model_that_ends_its_process_is_told_as_that(tried: Any, fault: str, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        tried(SearchSpace({"model.width": Int(8, 16)}), fault=fault)


@pytest.mark.slow
def test_a_model_that_hangs_is_ended_and_warned_of(
    tried: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may only be slow here, so the plan goes on."""
    monkeypatch.setattr(module, "SECONDS", 3.0)
    line, warning = tried(SearchSpace({"model.width": Int(8, 16)}), fault="hang")
    assert line.startswith("model      Net (0 configurations tried in ")
    assert warning.startswith(
        "warning    model './net.py:Net' tried with model.width=8: no end within 3 s"
    )


@pytest.mark.slow
def test_a_model_that_needs_more_memory_than_there_is_is_ended_and_warned_of(
    tried: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MEMORY_SHARE", 1e-6)
    _, warning = tried(SearchSpace({"model.width": Int(8, 16)}))
    assert "it needs more than" in warning


def test_a_model_of_the_library_is_tried_without_a_process_and_without_memory(
    make_study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upper end has 2**60 weights and more, of 16 bytes with gradient and moments."""
    monkeypatch.setattr(subprocess, "Popen", None)
    space = SearchSpace({"model.hidden": Int(2, 2**30), "optimizer.momentum": Float(0.0, 0.9)})
    study = make_study(space=space, parameters={"model.depth": 2, "optimizer.name": "sgd"})
    lines = [line for line in study.plan().lines() if line.startswith(("model", "warning"))]
    assert "145 to 1,152,921,57" in lines[0]
    assert "the largest model needs about 18,446,745,259 GB" in lines[-1]


def test_a_value_that_a_model_of_the_library_refuses_is_told(make_study: Any) -> None:
    space = SearchSpace({"model.kernel_size": Choice(3, 4), "model.dropout": Float(0.5, 1.0)})
    study = make_study(model="cnn", space=space)
    [warning] = study.plan().warnings
    assert "cannot be built: ValueError: kernel_size must be an odd number" in warning
    with pytest.raises(ModelError, match=r"dropout must be at least 0 and below 1, got 1\.0"):
        make_study(
            model="cnn",
            space=space,
            parameters={},
            searcher=Fixed([{"model.kernel_size": 3, "model.dropout": 1.0}]),
        ).plan()


def test_given_configurations_are_tried_instead_of_ends(make_study: Any) -> None:
    configs = [{"model.hidden": 3}]
    study: Study = make_study(space={"model.hidden": {"int": [1, 9]}}, searcher=Fixed(configs))
    assert "(1 configurations tried" in study.plan().model[0]


def test_a_study_that_has_trained_folds_is_not_tried_again(
    make_study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its resume costs what it did before."""
    from rayfold.journal import Journal

    study: Study = make_study()
    tries: list[Preparation] = []

    def count(study: Preparation) -> module.DryRun:
        tries.append(study)
        return module.DryRun(num_configs=0, num_parameters=None, seconds=0.0)

    monkeypatch.setattr(Preparation, "dry_run", count)
    study._try_model(anew=False)
    assert tries == [study.preparation]
    with Journal.open(study.folder / "journal.jsonl") as journal:
        journal.append("fold", trial="0000", result={})
    study._try_model(anew=False)
    assert tries == [study.preparation]

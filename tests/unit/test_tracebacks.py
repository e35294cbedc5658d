"""Which line of the user's code an error came from."""

import subprocess
import sys
from pathlib import Path

import pytest

from rayfold.errors import ModelError
from rayfold.library import resolve_model
from rayfold.model_construction import build_model
from rayfold.tracebacks import CodePlace, summary, user_place

NET = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        if width > 9:
            raise ValueError("too wide.")
        self.layer = nn.Linear(4, width)

    def forward(self, rows):
        return self.layer(rows)
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    file = tmp_path / "net.py"
    file.write_text(NET)
    return file


def test_an_error_in_pytorch_is_placed_where_the_user_called_it(net: Path) -> None:
    import torch

    model = resolve_model(f"{net}:Net")()
    with pytest.raises(RuntimeError) as caught:
        model(torch.zeros(2, 5))
    place = user_place(caught.value)
    assert place is not None
    assert (Path(place.path).name, place.line, place.function) == ("net.py", 12, "forward")
    assert summary(caught.value) == (
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x5 and 4x8) "
        "(net.py line 12, in forward)"
    )


def test_an_error_of_ours_is_placed_at_its_cause(net: Path) -> None:
    """Our own message leads; the line is that of the exception that caused it."""
    with pytest.raises(ModelError) as caught:
        build_model(resolve_model(f"{net}:Net"), {"width": 10})
    assert summary(caught.value) == (
        "Net(width=10) cannot be built: ValueError: too wide (net.py line 8, in __init__)"
    )


def test_a_traceback_from_another_machine_is_read_by_its_paths() -> None:
    text = """\
Traceback (most recent call last):
  File "/opt/env/lib/python3.12/site-packages/rayfold/groups/group.py", line 90, in carry_out
    return self._train(task, link.should_stop)
  File "/home/ann/rayfold/net.py", line 7, in forward
    return self.layer(rows)
  File "/opt/env/lib/python3.12/site-packages/torch/nn/modules/linear.py", line 130, in forward
    return F.linear(input, self.weight, self.bias)
  File "/usr/lib/python3.12/functools.py", line 3, in wraps
RuntimeError: size mismatch for layer:
  File "/tmp/fake.txt": more of the message
"""
    assert user_place(text) == CodePlace("/home/ann/rayfold/net.py", 7, "forward")
    assert summary(text) == "RuntimeError: size mismatch for layer: (net.py line 7, in forward)"


def test_a_model_of_the_library_is_named_where_no_code_is_the_users() -> None:
    with pytest.raises(ModelError) as caught:
        build_model(resolve_model("cnn"), {"input_shape": (3,), "num_outputs": 2})
    place = user_place(caught.value)
    assert place is not None
    assert (Path(place.path).name, place.function) == ("cnn.py", "__init__")


def test_a_syntax_error_is_placed_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("x = 1\ny = (\n")
    done = subprocess.run(
        [sys.executable, tmp_path / "wrong.py"], capture_output=True, text=True, check=False
    )
    assert summary(done.stderr) == "SyntaxError: '(' was never closed (wrong.py line 2)"


def test_a_crash_is_placed_by_what_faulthandler_writes() -> None:
    """Its innermost line comes first."""
    text = """\
Fatal Python error: Segmentation fault

Current thread 0x00007f (most recent call first):
  File "/usr/lib/python3.12/ctypes/__init__.py", line 5 in string_at
  File "/home/ann/net.py", line 9 in forward
  File "/home/ann/net.py", line 4 in __call__
  File "/opt/lib/python3.12/site-packages/rayfold/training/learner.py", line 128 in train_batch
  File "/home/ann/script.py", line 2 in <module>
"""
    assert user_place(text) == CodePlace("/home/ann/net.py", 9, "forward")


def test_text_without_a_traceback_is_its_first_line() -> None:
    assert summary("fold 1 diverged.\nmore") == "fold 1 diverged"
    assert user_place("fold 1 diverged.") is None
    assert summary("") == "unknown"


def test_an_error_is_told_in_characters_that_every_terminal_takes() -> None:
    error = ValueError("bad \ud800 \x1b[31m \x00 é 漢")
    assert summary(error) == r"ValueError: bad \ud800 \x1b[31m \x00 é 漢"

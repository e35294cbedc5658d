"""The driver imports no code that would hang it, end it or crash it."""

import os
from pathlib import Path

import pytest

from rayfold.errors import ModelError
from rayfold.library import model_source, resolve_model
from rayfold.user_code import first_import

NET = """\
import os
from torch import nn
import layers

class Net(nn.Module):
    pass
"""


def resolve(folder: Path, layers: str) -> type:
    """Import a model whose local import holds these lines, as the driver does."""
    (folder / "net.py").write_text(NET)
    (folder / "layers.py").write_text(f"import os\n{layers}\n")
    return resolve_model("./net.py:Net", base=folder, tried=True)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("os._exit(0)", r"its import ends the process with status 0"),
        ("os.abort()", r"its import ends the process by SIGABRT"),
        ("raise KeyboardInterrupt", r"it raises KeyboardInterrupt when it is imported"),
    ],
)
def test_code_that_ends_its_process_is_told_with_file_and_line(
    tmp_path: Path, line: str, told: str
) -> None:
    with pytest.raises(ModelError, match=rf"cannot run {tmp_path}/layers\.py, line 2: {told}"):
        resolve(tmp_path, line)


def test_code_that_hangs_is_told_with_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_import, "SECONDS", 1.0)
    with pytest.raises(
        ModelError, match=r"layers\.py, line 2: its import does not end within 1 s"
    ):
        resolve(tmp_path, "while True: pass")


def test_what_code_raises_is_told_as_ever(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"layers\.py, line 2: ZeroDivisionError: division by"):
        resolve(tmp_path, "1 / 0")


def test_code_is_tried_once_for_each_text(tmp_path: Path) -> None:
    """The file counts the processes that import it."""
    count = tmp_path / "count"
    line = f"with open({str(count)!r}, 'a') as file: print(os.getpid(), file=file)"
    resolve(tmp_path, line)
    first_import.try_import(model_source("./net.py:Net", base=tmp_path))
    resolve(tmp_path, line)
    child, here = count.read_text().split()
    assert child != here == str(os.getpid())

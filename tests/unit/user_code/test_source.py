"""The user's code travels as text: found, imported under its digest, told in the user's words."""

import os
import pickle
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

import pytest
import torch
from torch import nn

from rayfold.errors import ModelError
from rayfold.library import model_source, resolve_model
from rayfold.user_code import CodeRecord, SourceCode, changed_files, is_file_reference
from rayfold.user_code.loading import copies_folder

NET = """
import functools
import sys
import threading
from contextvars import ContextVar

import torch
from torch import nn

import layers

LOCK = threading.Lock()
STATE = ContextVar("state", default=1.0)
HERE = sys.modules[__name__]


@functools.lru_cache
def gain(width):
    return layers.GAIN * width


@torch.jit.script
def doubled(x):
    return x * 2


class Net(nn.Module):
    def __init__(self, *, width=2):
        super().__init__()
        self.width = width

    def forward(self, x):
        from deep.inside import SHIFT  # found late

        with LOCK:
            return doubled(x) * HERE.gain(self.width) * STATE.get() + SHIFT
"""

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


class Here(nn.Module):
    pass


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A model with a local module and a local package; its forward is 2 * 3 * 2 * x + 5."""
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "layers.py").write_text("GAIN = 3\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "__init__.py").write_text("from .inside import SHIFT\n")
    (tmp_path / "deep" / "inside.py").write_text("import layers\nSHIFT = layers.GAIN + 2\n")
    (tmp_path / "unused.py").write_text("raise RuntimeError('nobody imports me')\n")
    return tmp_path


def in_fresh_process(source: SourceCode, tmp_path: Path) -> str:
    """Unpickle a source in a process that knows none of the user's folders; run its model."""
    file = tmp_path / "source.pickle"
    file.write_bytes(pickle.dumps(source))
    code = (
        "import pickle, sys, inspect, torch\n"
        f"source = pickle.loads(open({str(file)!r}, 'rb').read())\n"
        "assert 'torch.jit' in sys.modules\n"
        "net = source.load()\n"
        "print(float(net()(torch.ones(()))))\n"
        "print(inspect.getsource(net.forward).split('\\n')[0].strip())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_script(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False
    )


class TestFiles:
    def test_a_file_and_its_local_imports_are_its_code_and_nothing_else(
        self, project: Path
    ) -> None:
        source = model_source("./net.py:Net", base=project)
        assert sorted(source.files) == [
            "deep/__init__.py",
            "deep/inside.py",
            "layers.py",
            "net.py",
        ]
        assert set(source.packages) == {"torch"}

    def test_a_link_to_the_same_text_is_the_same_code(self, project: Path) -> None:
        """What it links to has another name and lies elsewhere, as do the modules beside it."""
        before = model_source("./net.py:Net", base=project)
        (project / "kept").mkdir()
        (project / "net.py").rename(project / "kept" / "net_v1.py")
        (project / "net.py").symlink_to(project / "kept" / "net_v1.py")
        after = model_source("./net.py:Net", base=project)
        assert after.digest == before.digest
        assert float(after.load()()(torch.ones(()))) == 17.0

    def test_it_runs_in_another_process_without_the_files(self, project: Path) -> None:
        source = model_source("./net.py:Net", base=project)
        for name in ("net.py", "layers.py", "deep/inside.py"):
            (project / name).unlink()
        assert in_fresh_process(source, project).split("\n")[:2] == [
            "17.0",
            "def forward(self, x):",
        ]

    def test_two_versions_live_in_one_process(self, project: Path) -> None:
        before = resolve_model("./net.py:Net", base=project)
        (project / "layers.py").write_text("GAIN = 10\n")
        after = resolve_model("./net.py:Net", base=project)
        assert float(before()(torch.ones(()))) == 17.0
        assert float(after()(torch.ones(()))) == 52.0

    def test_a_changed_local_import_changes_the_digest_and_is_named(self, project: Path) -> None:
        before = CodeRecord.of(model_source("./net.py:Net", base=project))
        (project / "layers.py").write_text("GAIN = 10\n")
        now = CodeRecord.of(model_source("./net.py:Net", base=project))
        assert before.digest != now.digest
        assert changed_files(before, now) == ("layers.py has changed",)
        assert CodeRecord.from_dict(now.to_dict()) == now

    def test_a_copy_with_other_contents_is_mended(self, project: Path) -> None:
        (project / "net.py").write_text(NET + "# another text\n")
        source = model_source("./net.py:Net", base=project)
        copy = copies_folder(source.digest) / "net.py"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text("raise RuntimeError('not the text')\n")
        source.load()
        assert copy.read_text() == NET + "# another text\n"

    def test_a_file_of_a_package_keeps_its_relative_imports(self, project: Path) -> None:
        (project / "deep" / "net.py").write_text(
            "from torch import nn\nfrom .inside import SHIFT\nfrom .. import missing\n"
            "class Net(nn.Module):\n    shift = SHIFT\n".replace("from .. import missing\n", "")
        )
        source = model_source("./deep/net.py:Net", base=project)
        assert (source.module, sorted(source.files)[0]) == ("deep.net", "deep/__init__.py")
        assert vars(resolve_model(source))["shift"] == 5

    def test_a_module_that_no_package_installed_travels_as_text(self, project: Path) -> None:
        (project / "deep" / "net.py").write_text("from torch import nn\nclass Net(nn.Module): ...")
        source = model_source("deep.net:Net", base=project)
        assert source.kind == "files"
        assert resolve_model(source).__name__ == "Net"

    def test_an_installed_module_keeps_its_reference_with_its_version(self) -> None:
        source = model_source("torch.nn:Linear")
        assert (source.kind, source.files, set(source.packages)) == ("installed", {}, {"torch"})
        assert source.load() is nn.Linear
        assert model_source("mlp").kind == "installed"

    def test_a_class_of_an_imported_module_is_itself_here_and_text_elsewhere(self) -> None:
        source = model_source(Here)
        assert source.load() is Here
        assert Path(__file__).name in {Path(name).name for name in source.files}
        again = pickle.loads(pickle.dumps(source))  # noqa: S301
        assert again.load().__name__ == "Here"

    def test_references_to_files_are_told_apart(self) -> None:
        assert is_file_reference("./net.py:Net")
        assert is_file_reference("net.py:Net")
        assert is_file_reference("/abs/net:Net")
        assert not is_file_reference("package.module:Net")
        assert not is_file_reference("cnn")


class TestFailures:
    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("import sys\nsys.exit(3)\n", r"layers\.py, line 2: it calls sys\.exit\(3\) when"),
            ("import no_such_thing\n", r"layers\.py, line 1: .*no_such_thing"),
            ("from deep import gone\n", r"cannot import name 'gone' from 'deep'"),
        ],
    )
    def test_what_fails_at_import_is_told_with_file_and_line(
        self, project: Path, text: str, match: str
    ) -> None:
        (project / "layers.py").write_text(text)
        (project / "deep" / "inside.py").write_text("SHIFT = 1\n")
        with pytest.raises(ModelError, match=match) as told:
            resolve_model("./net.py:Net", base=project)
        assert "_rayfold_code_" not in str(told.value)

    def test_a_traceback_names_the_users_file(self, project: Path) -> None:
        source = model_source("./net.py:Net", base=project)
        with pytest.raises(RuntimeError) as caught:
            source.load()().forward("no tensor")
        text = source.told("".join(traceback.format_exception(caught.value)))
        assert f'File "{project / "net.py"}", line' in text
        assert "rayfold-code-" not in text

    def test_what_is_no_file_of_text_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.py")
        for reference in (
            "./pipe.py:Net",
            "/dev/zero:Net",
            "./a\0b.py:Net",
            f"./{'x' * 5000}.py:N",
        ):
            with pytest.raises(ModelError, match="cannot read") as told:
                model_source(reference, base=tmp_path)
            assert len(str(told.value)) < 1000


def notebook_class(lock: object = None) -> type[nn.Module]:
    class Net(nn.Module):
        held = lock

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    return Net


class TestNotebookClasses:
    def test_a_class_in_no_module_is_itself_here_and_pickled_elsewhere(self) -> None:
        net = notebook_class()
        source = model_source(net)
        assert (source.kind, source.load() is net) == ("notebook", True)
        assert "return x + 1" in source.files["Net.py"]
        again = pickle.loads(pickle.dumps(source))  # noqa: S301
        assert float(again.load()().forward(torch.zeros(()))) == 1.0

    def test_what_cannot_be_sent_is_told_before_anything_starts(self) -> None:
        source = model_source(notebook_class(threading.Lock()))
        with pytest.raises(ModelError, match=r"cannot be sent to workers: .*lock.*\./net\.py:"):
            source.check_travels()

    @pytest.mark.parametrize(
        ("imports", "base", "gain"),
        [
            ("import layers", "nn.Module", "layers.GAIN"),
            ("from layers import scaled", "nn.Module", "scaled(1)"),
            ("import layers", "layers.Base", "1"),
            ("from layers import Base", "Base", "1"),
            ("from layers import scaled", "nn.Module", "own(1)"),
        ],
    )
    def test_a_scripts_class_that_uses_local_files_is_told_before_anything_starts(
        self, tmp_path: Path, imports: str, base: str, gain: str
    ) -> None:
        """Another node does not have them, and nobody would see them change."""
        (tmp_path / "layers.py").write_text(
            "from torch import nn\nGAIN = 3\nclass Base(nn.Module): ...\n"
            "def scaled(x): return x * GAIN\n"
        )
        (tmp_path / "script.py").write_text(
            f"from torch import nn\n{imports}\n"
            "def own(x): return scaled(x)\n"
            f"class Net({base}):\n    def forward(self, x): return {gain} * x\n"
            "from rayfold.errors import ModelError\n"
            "from rayfold.library import model_source\n"
            "try:\n    model_source(Net).check_travels()\n"
            "except ModelError as error:\n    print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == (
            f"model '__main__:Net' is no class of a file and uses {tmp_path / 'layers.py'}, which "
            "would not travel with it; write the class into a file of its own and name that: "
            "model='./net.py:Net'.\n"
        ), done.stderr

    def test_a_scripts_class_that_uses_installed_packages_travels(self, tmp_path: Path) -> None:
        (tmp_path / "script.py").write_text(
            "import math\nimport numpy as np\nfrom torch import nn\n"
            "from rayfold.models.mlp import MLP\nfrom rayfold.library import model_source\n"
            "def double(x): return 2 * x\n"
            "class Net(nn.Module):\n    def forward(self, x):\n"
            "        return double(np.sqrt(x)) * math.pi + nn.functional.relu(x) + MLP.x\n"
            "model_source(Net).check_travels()\nprint('travels')\n"
        )
        done = subprocess.run(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "travels\n", done.stderr


@pytest.mark.parametrize("taken", ["open to others", "a link", "a file"])
def test_a_folder_of_copies_that_others_could_write_is_not_used(
    project: Path, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    place = project / f"rayfold-code-{os.getuid()}"
    if taken == "a link":
        (project / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(project / "elsewhere")
    elif taken == "a file":
        place.touch(mode=0o600)
    else:
        place.mkdir()
        place.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(project))
    (project / "net.py").write_text(NET + f"\n# {taken}\n")
    source = model_source("./net.py:Net", base=project)
    source.load()
    folder = copies_folder(source.digest)
    assert (folder / "net.py").read_text() == NET + f"\n# {taken}\n"
    assert not folder.is_relative_to(place)
    assert folder.parent.stat().st_mode & 0o077 == 0
    assert taken == "a file" or list(place.iterdir()) == []

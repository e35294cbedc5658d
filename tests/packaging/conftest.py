"""The distributions, built once from what git tracks and installed beside each other."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel and the sdist, each built from the source tree."""
    source = tmp_path_factory.mktemp("source") / "rayfold"
    copy_tracked_files(source)
    target = tmp_path_factory.mktemp("dist")
    run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--sdist"],
        ["--outdir", str(target), str(source)],
    )
    [wheel], [sdist] = target.glob("*.whl"), target.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


@pytest.fixture(scope="session", params=["wheel", "sdist"])
def installed(
    request: pytest.FixtureRequest,
    distributions: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder that holds nothing but Rayfold, installed from the wheel or from the sdist."""
    target = tmp_path_factory.mktemp(request.param)
    run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"],
        ["--no-build-isolation", "--target", str(target), str(distributions[request.param])],
    )
    return target


@pytest.fixture
def python_beside(installed: Path, tmp_path: Path) -> Callable[[str], str]:
    """Runs code in a fresh Python that finds the installed Rayfold, and not the repository.

    The dependencies come from this environment; its link to the repository is left out by
    ``-S``, which reads no ``.pth`` file.
    """
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), packages])}

    def python(code: str) -> str:
        return run([sys.executable, "-S", "-c", code], cwd=tmp_path, env=environment)

    return python


def copy_tracked_files(target: Path) -> None:
    """Copy what git tracks, as it is in the working tree, links as links."""
    listed = run(["git", "-C", str(REPOSITORY), "ls-files", "-z"])
    for name in filter(None, listed.split("\0")):
        if os.path.lexists(REPOSITORY / name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name, follow_symlinks=False)


def run(
    command: list[str],
    more: list[str] | None = None,
    *,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> str:
    """Run a command and return what it prints; a failure shows all of its output."""
    done = subprocess.run(
        command + (more or []), capture_output=True, text=True, check=False, cwd=cwd, env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

"""What importing does, at the repository's root and with the package alone."""

import subprocess
import sys
import sysconfig
from pathlib import Path


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder
    )


def test_platform_at_the_root_is_the_standard_librarys(repository: Path) -> None:
    """The folder of the same name holds no ``__init__.py``, so that it does not come first."""
    done = python("import platform; print(platform.__file__); platform.system()", repository)
    assert done.stderr == ""
    assert Path(done.stdout.strip()).parent == Path(sysconfig.get_paths()["stdlib"])
    assert not (repository / "platform/__init__.py").exists()


def test_models_at_the_root_says_where_it_is_to_be_imported_from(repository: Path) -> None:
    done = python("import models", repository)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: this package is rayfold.models, but it was imported as 'models': "
        "write `from rayfold.models.cnn import CNN`, with Rayfold installed."
    )


def test_rayfold_alone_imports_none_of_the_large_libraries(tmp_path: Path) -> None:
    large = {"torch", "ray", "mlflow", "pandas", "sklearn", "h5py", "pydantic"}
    done = python("import sys, rayfold; print(*sys.modules)", tmp_path)
    assert large & set(done.stdout.split()) == set()
    assert done.stderr == ""


def test_every_public_name_is_there_without_ray_and_mlflow(tmp_path: Path) -> None:
    """So that ``rayfold plan`` needs none of the two."""
    done = python("from rayfold import *; import sys; print(*dir(), *sys.modules)", tmp_path)
    assert done.stderr == ""
    names = set(done.stdout.split())
    assert {"Study", "Ensemble", "load_bundle", "search"} <= names
    assert {"ray", "mlflow"} & names == set()

"""The order of the tests: two processes share them file by file, the long ones first."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # on shared cores, threads that wait only spin

LONGEST_FIRST = (
    "test_study.py",
    "test_cluster.py",
    "01_first_study.ipynb",
    "03_ensembles.ipynb",
    "test_population.py",
    "test_limits.py",
    "test_sub_problems.py",
    "test_pool.py",
    "test_foreign.py",
)


@pytest.hookimpl(tryfirst=True)  # before markers are looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the files that take minutes to the front, so that none of them is begun last."""
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.slow)

    def place(item: pytest.Item) -> int:
        name = item.path.name
        return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=place)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """A file system of 1 MB that fills up, and what gives it another size: ``enlarge("64m")``."""
    disk = tmp_path / "small disk"
    disk.mkdir()

    def mount(options: str) -> None:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True, capture_output=True
        )

    try:
        mount("size=1m")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting a small file system is not allowed here: {error}")
    try:
        yield disk, lambda size: mount(f"remount,size={size}")
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)

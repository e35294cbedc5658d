"""Real processes that end in every way, and what is known of it afterwards."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rayfold.last_words import cause_of_death
from rayfold.tracebacks import summary

MODEL = """
import ctypes, os

def leave(how):
    if how == "abort": os.abort()
    if how == "segfault": ctypes.string_at(0)
    os._exit(3)
"""


def end(folder: Path, code: str) -> tuple[int, str, str]:
    """Run code in a process that leaves last words; return its status, cause and details."""
    (folder / "net.py").write_text(textwrap.dedent(MODEL))
    words = folder / "words" / "group-0-0.txt"
    script = (
        "from pathlib import Path; "
        "from rayfold.last_words import keep_last_words; "
        f"keep_last_words(Path({str(words)!r})); {code}"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        stderr=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    cause, details = cause_of_death(words, "The actor died unexpectedly.")
    return done.returncode, cause, details


@pytest.mark.parametrize(
    ("how", "status", "line", "expected"),
    [
        ("status", 3, 7, "it exited with status 3 (os._exit)"),
        ("abort", -signal.SIGABRT, 5, "it was ended by SIGABRT, from os.abort or a failed check"),
        ("segfault", -signal.SIGSEGV, 6, "it was ended by SIGSEGV, an access to memory"),
    ],
)
def test_the_cause_and_the_line_of_the_users_code_are_told(
    how: str, status: int, line: int, expected: str, tmp_path: Path
) -> None:
    ended, cause, details = end(tmp_path, f"import net; net.leave({how!r})")
    assert ended == status
    assert cause.startswith(expected)
    told = summary(f"{details}\n{cause}")
    assert told == f"{cause} (net.py line {line}, in leave)"


def test_a_process_that_is_killed_says_nothing_and_memory_is_named_as_a_possibility(
    tmp_path: Path,
) -> None:
    status, cause, _ = end(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert status == -signal.SIGKILL
    assert cause.startswith("it was killed (SIGKILL)")
    assert "when memory runs out" in cause


def test_a_child_that_crashes_or_exits_is_not_its_parents_end(tmp_path: Path) -> None:
    code = """import os, signal
for leave in (os.abort, lambda: os._exit(5)):
    child = os.fork()
    if not child:
        leave()
    os.waitpid(child, 0)
os.kill(os.getpid(), signal.SIGKILL)"""
    _, cause, details = end(tmp_path, f"exec({code!r})")
    assert cause.startswith("it was killed (SIGKILL)")
    assert details == ""


def test_rays_own_word_of_memory_and_of_nodes_is_passed_on(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.txt"
    cause, _ = cause_of_death(nothing, "2 workers were killed", out_of_memory=True)
    assert cause.startswith("it was ended by Ray, since its node runs out of memory; lower")
    text = "The actor died because its node has died. Node Id: 12"
    assert cause_of_death(nothing, text)[0] == "its node is gone"

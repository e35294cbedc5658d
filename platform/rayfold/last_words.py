"""Why a process has ended: what it wrote before its end, and what Ray knows.

Ray only reports that the connection of a dead process broke, and the system only a status. So each
process that runs a user's code writes a file that says what ended it: the signal of a crash with
the lines of Python, or the exit status. A process that is killed from outside writes nothing.
"""

import faulthandler
import os
import re
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

_SIGNALS = {
    "Segmentation fault": "SIGSEGV, an access to memory that is not its own",
    "Aborted": "SIGABRT, from os.abort or a failed check in compiled code",
    "Floating-point exception": "SIGFPE, an arithmetic error in compiled code",
    "Floating point exception": "SIGFPE, an arithmetic error in compiled code",
    "Bus error": "SIGBUS, an access to memory that cannot be served",
    "Illegal instruction": "SIGILL, an instruction that this processor does not know",
}

TRACEBACK = "Traceback (most recent call last):"

NODE_DIED = "its node has died"
"""Text in Ray's message about an actor whose node is gone."""

_OUT_OF_MEMORY = "lower batch_size, the model's size or the number of groups"


def keep_last_words(path: Path) -> None:
    """Let this process write to ``path`` what ends it; called once, when it starts.

    The process works even if it cannot write there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        words = path.open("w")
    except OSError:
        return
    faulthandler.enable(words, all_threads=False)
    os.register_at_fork(after_in_child=_forget)
    leave, process_id = os._exit, os.getpid()

    def exit_with_words(status: int) -> NoReturn:
        if os.getpid() == process_id:
            frames = reversed(traceback.extract_stack()[:-1])
            lines = [f'  File "{it.filename}", line {it.lineno} in {it.name}' for it in frames]
            with suppress(OSError):
                head = f"os._exit({status}) (most recent call first):"
                words.write("\n".join([head, *lines, ""]))
                words.flush()
        leave(status)

    os._exit = exit_with_words  # there is no hook for it


def _forget() -> None:
    """Stop writing in a child process, whose end is not the parent's end."""
    faulthandler.enable(sys.__stderr__ or 2, all_threads=False)


def cause_of_death(path: Path, message: str, *, out_of_memory: bool = False) -> tuple[str, str]:
    """Say why a worker's process has ended.

    Args:
        path: The file for its last words.
        message: Ray's message about it.
        out_of_memory: Whether Ray has ended it because its node ran out of memory.

    Returns:
        The cause in one line; and, if known, the lines of Python that it was in, as the text of a
        traceback whose last line is the cause.
    """
    words = path.read_text(errors="replace") if path.is_file() else ""
    if told := _cause_in_words(words):
        return told, _traceback(words)
    if out_of_memory:
        return f"it was ended by Ray, since its node runs out of memory; {_OUT_OF_MEMORY}", ""
    if NODE_DIED in message:
        return "its node is gone", ""
    return (
        "it was killed (SIGKILL), or left by exit() in compiled code; the system kills a process "
        f"when memory runs out: if it did, {_OUT_OF_MEMORY}",
        "",
    )


def _cause_in_words(words: str) -> str:
    """Return the cause that a process has written, in one line; empty if there is none."""
    if exited := re.search(r"^os\._exit\((-?\d+)\)", words, re.MULTILINE):
        return f"it exited with status {exited[1]} (os._exit)"
    if crashed := re.search(r"^Fatal Python error: (.+)$", words, re.MULTILINE):
        name = crashed[1].strip()
        return f"it was ended by {_SIGNALS.get(name, name)}"
    return ""


def _traceback(words: str) -> str:
    """Return the frames in the file, the innermost first, in Python's usual form."""
    frames = re.findall(r'^  (File ".+", line \d+) in (.+)$', words, re.MULTILINE)
    lines = [f"  {place}, in {function}" for place, function in reversed(frames)]
    return "\n".join([TRACEBACK, *lines])

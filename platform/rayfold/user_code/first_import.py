"""The first import of a user's code, in a child process: it may hang, leave or crash.

``python -m rayfold.user_code.first_import FOLDER SECONDS`` reads ``sources.pickle`` in a folder,
which its parent has just written, and leaves ``done0``, ``done1`` ... there, one when each import
has come to its end.
"""

import faulthandler
import importlib
import pickle
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from rayfold.child import child_process, die_with_parent
from rayfold.errors import ModelError
from rayfold.last_words import keep_last_words
from rayfold.tracebacks import user_place
from rayfold.user_code.source import SourceCode

SECONDS = 60.0
"""How long an import may take."""

START_SECONDS = 120.0
"""How long the start of the child process, with PyTorch, may take on a busy machine."""

_TRIED: set[tuple[str, str]] = set()
"""What has been imported in a child: modules and digests."""


def try_import(*sources: SourceCode) -> None:
    """Import code in a child process, once for each text, before this process imports it.

    What the code raises is not told: it raises that here, too.

    Args:
        sources: The code of classes. Ours, and those that are here already, need no try.

    Raises:
        ModelError: If the import does not end, ends the process, or raises KeyboardInterrupt; one
            line with file and line.
    """
    untried = {
        key: source
        for source in sources
        if (key := (source.module, source.digest)) not in _TRIED
        and not (source.is_ours or source.kind == "notebook" or source.is_here)
    }
    if not untried:
        return
    given = [*untried.values()]
    with tempfile.TemporaryDirectory(prefix="rayfold-") as place:
        folder = Path(place)
        (folder / "sources.pickle").write_bytes(pickle.dumps(given))
        errors = folder / "errors.txt"
        with child_process(
            "rayfold.user_code.first_import",
            place,
            str(SECONDS),
            output=subprocess.DEVNULL,
            errors=errors,
        ) as child:
            try:
                status: int | None = child.wait(START_SECONDS + SECONDS * len(given))
            except subprocess.TimeoutExpired:
                status = None
        for number, source in enumerate(given):
            if not (folder / f"done{number}").exists():
                texts = [file.read_text(errors="replace") for file in folder.glob("*.txt")]
                raise ModelError(_told(source, status, source.told("\n".join(texts))))
    _TRIED.update(untried)


def _told(source: SourceCode, status: int | None, text: str) -> str:
    """Say how the import has ended the child; ``text`` is what it has written."""
    if status is None or "Timeout (" in text:
        what = f"its import does not end within {SECONDS:g} s; move what takes long into the class"
    elif "KeyboardInterrupt" in text:
        what = "it raises KeyboardInterrupt when it is imported; remove that"
    elif status < 0:
        name = signal.Signals(-status).name
        what = f"its import ends the process by {name}; mend or remove what does that"
    else:
        what = f"its import ends the process with status {status}; remove that call (os._exit)"
    place = user_place(text)
    where = source.module if place is None else f"{place.path}, line {place.line}"
    return f"{source.what} {source.reference!r}: cannot run {where}: {what}."


def main(folder: Path, seconds: float) -> None:
    """Import the code that a folder names, which may take some seconds."""
    die_with_parent()
    importlib.import_module("torch")  # no code takes that time
    sources: list[SourceCode] = pickle.loads(  # noqa: S301  our parent's
        (folder / "sources.pickle").read_bytes()
    )
    keep_last_words(folder / "words.txt")
    for number, source in enumerate(sources):
        faulthandler.dump_traceback_later(seconds, exit=True)
        with suppress(ModelError, OSError):  # the parent meets that, too, and tells it
            source.load_module()
        (folder / f"done{number}").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))

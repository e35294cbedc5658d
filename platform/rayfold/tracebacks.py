"""The origin of an error: the innermost line of the user's own code.

Errors arrive as exceptions or, from a worker, as the text of a traceback. This text may come from
another machine, so files are recognised only by their paths.
"""

import re
import sysconfig
import traceback
from dataclasses import dataclass
from pathlib import Path, PurePath

from rayfold.errors import storable

_FRAME = re.compile(r'^  File "(?P<path>.+)", line (?P<line>\d+)(?:,? in (?P<function>.+))?$')
_OWN_FOLDER = Path(__file__).parent
_OWN_ERROR = re.compile(r"^rayfold\.errors\.\w+: ")
_STANDARD = re.compile(r"/python3\.\d+t?/")
_STANDARD_FOLDER = sysconfig.get_paths()["stdlib"]
_PACKAGES = ("site-packages", "dist-packages")
_LIBRARIES = ("torch", "numpy", "ray", "torchmetrics")


@dataclass(frozen=True)
class CodePlace:
    """A line of source code.

    Attributes:
        path: Its file, as in the traceback.
        line: Its number, counted from 1.
        function: Its function; empty if the traceback names none.
    """

    path: str
    line: int
    function: str = ""

    def __str__(self) -> str:
        """Return it as in messages: ``net.py line 12, in forward``."""
        inside = f", in {self.function}" if self.function not in ("", "<module>") else ""
        return f"{PurePath(self.path).name} line {self.line}{inside}"


def user_place(error: BaseException | str) -> CodePlace | None:
    """Return the innermost line of the user's code that an error passed through, or None.

    Code of the standard library, of installed packages and of Rayfold is not the user's. If there
    is no other line, a line of an installed package or of a model of Rayfold's library is
    returned, but no line of PyTorch, NumPy, Ray or Rayfold itself.

    Args:
        error: An exception with its causes, or the text of a traceback, which ``faulthandler`` may
            have written in a crash.
    """
    blocks = [_inside(block) for block in _blocks(_text(error))]
    for belongs in (_is_users, _is_models):
        for block in reversed(blocks):
            fitting = [place for place in block if belongs(place.path)]
            if fitting:
                return fitting[-1]
    return None


def summary(error: BaseException | str) -> str:
    """Return an error in one line: ``RuntimeError: shapes differ (net.py line 12, in forward)``.

    Args:
        error: An exception, or the text of its traceback; other text gives its first line.
    """
    text = _text(error)
    place = user_place(text)
    where = "" if place is None else f" ({place})"
    return f"{_message(text).removesuffix('.')}{where}"


def _text(error: BaseException | str) -> str:
    told = error if isinstance(error, str) else "".join(traceback.format_exception(error))
    return storable(told)


def _blocks(text: str) -> list[list[CodePlace]]:
    """Return the lines of code of each exception or thread in a traceback, outermost first."""
    blocks: list[list[CodePlace]] = [[]]
    is_crash = False  # faulthandler prints the innermost line first
    for line in text.splitlines():
        if line.startswith("Traceback (most") or line.endswith("(most recent call first):"):
            is_crash = not line.startswith("Traceback")
            blocks.append([])
        elif found := _FRAME.match(line):
            place = CodePlace(found["path"], int(found["line"]), found["function"] or "")
            blocks[-1].insert(0 if is_crash else len(blocks[-1]), place)
    return blocks


def _inside(block: list[CodePlace]) -> list[CodePlace]:
    """Return the frames that Rayfold's code has called, without its own callers."""
    calls = [number for number, place in enumerate(block) if _is_engine(place.path)]
    return block[calls[-1] + 1 :] if calls else block


def _message(text: str) -> str:
    """Return the first line of the message of a traceback's last exception."""
    lines = text.strip("\n").splitlines() or ["unknown"]
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (most")]
    last = lines[starts[-1] + 1 :] if starts else lines
    message = next((line for line in last if line.strip() and not line.startswith(" ")), lines[-1])
    return _OWN_ERROR.sub("", message.strip())


def _is_users(path: str) -> bool:
    if path.startswith("<") or _is_own(path) is not None:
        return False
    pure = PurePath(path)
    if any(part in _PACKAGES for part in pure.parts):
        return False
    return not _STANDARD.search(path) and not path.startswith(f"{_STANDARD_FOLDER}/")


def _is_engine(path: str) -> bool:
    own = _is_own(path)
    return own is not None and own.parts[0] != "models"


def _is_models(path: str) -> bool:
    own = _is_own(path)
    if own is not None:
        return own.parts[0] == "models"
    parts = PurePath(path).parts
    start = next((number for number, part in enumerate(parts) if part in _PACKAGES), None)
    return start is not None and parts[start + 1] not in _LIBRARIES


def _is_own(path: str) -> PurePath | None:
    """Return the path of a Rayfold file within the package, on any machine."""
    parts = PurePath(path).parts
    for number, part in enumerate(parts[:-1], start=1):
        inside = PurePath(*parts[number:])
        if part == _OWN_FOLDER.name and (_OWN_FOLDER / inside).is_file():
            return inside
    return None

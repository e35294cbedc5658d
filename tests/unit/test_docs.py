"""The code of the README and the docs runs as it stands, but for Ray.

A block's language says what becomes of it:

* ``python`` is executed, block after block of a document as in a notebook. ``rf.Study`` is the
  real one, only that it trains its first two trials in this process and not on Ray. In its
  arguments ``...`` stands for those of the document's first study, or of a small one of digits. A
  block that begins with ``# NAME.py`` is a file.
* ``yaml`` is a recipe, or a part of one without ``study``, which is then merged into the
  README's longest.
* ``bash``: ``rayfold`` is parsed by the real command line, ``make`` names a target, ``python`` a
  file; other programs are left alone.
* ``text`` is output, a drawing or a listing.
"""

import ast
import contextlib
import json
import re
import shlex
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import typer
from sklearn.datasets import load_digits

import rayfold as rf
from rayfold.cli.app import app
from rayfold.data import load
from rayfold.documents import read_yaml
from rayfold.library import resolve_model
from rayfold.model_construction import check_model
from rayfold.recipe import load_recipe
from tests.study_here import StudyHere

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
DOCUMENTS = sorted(
    [
        README,
        ROOT / "models/README.md",
        *ROOT.glob("platform/*.md"),
        *ROOT.glob("platform/docs/*.md"),
    ]
)
TRAINING = {"README.md", "platform/docs/ensembles.md", "platform/docs/populations.md"}
"""Documents whose code trains or exports for longer than a few seconds."""

LANGUAGES = {"python", "yaml", "bash", "text"}
NUM_ROWS, NUM_TRIALS = 240, 2


def blocks(document: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language, in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def having(language: str, *, slow: Collection[str] = ()) -> list[Any]:
    names = {document: str(document.relative_to(ROOT)) for document in DOCUMENTS}
    return [
        pytest.param(document, id=name, marks=[pytest.mark.slow] if name in slow else [])
        for document, name in names.items()
        if blocks(document, language)
    ]


class Study(StudyHere):
    """A study that trains its first trials here, and knows what the document's first one has."""

    num_here = NUM_TRIALS
    made: "list[Study]"
    whole: dict[str, Any] | None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        if ... in arguments:
            arguments = tuple(argument for argument in arguments if argument is not ...)
            options = (Study.whole or SMALL) | options
        elif Study.whole is None:
            Study.whole = options
        wanted = options.get("sub_problems")
        if wanted is not None and wanted.by == "files":
            options["data"] = rf.HDF5(["digits.h5", "more.h5"])
        super().__init__(*(arguments or (f"partial-{len(Study.made)}",)), **options)
        Study.made.append(self)


class Still:
    """A clock on which predictions take no time."""

    def perf_counter(self) -> float:
        return 0.0


class Rayfold:
    """``rf`` of the blocks."""

    Study = Study

    def __getattr__(self, name: str) -> Any:
        return getattr(rf, name)


SMALL: dict[str, Any] = {
    "model": "cnn",
    "data": rf.HDF5("digits.h5"),
    "holdout": rf.Holdout(0.2),
    "space": {
        "model.channels": rf.Int(4, 8),
        "optimizer.learning_rate": rf.Float(1e-3, 1e-1, log=True),
        "batch_size": rf.Choice(16, 32),
    },
    "folds": rf.Folds(3),
    "epochs": 2,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the docs name."""
    folder = tmp_path_factory.mktemp("docs")
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 8, 8)
    for number, name in enumerate(("digits.h5", "more.h5", "new.h5")):
        rows = slice(number * NUM_ROWS, (number + 1) * NUM_ROWS)
        with h5py.File(folder / name, "w") as file:
            file["features"] = images[rows]
            file["labels"] = labels[rows]
            file["site"] = np.arange(NUM_ROWS) % 2
            file["age"] = labels[rows] / 2
    (folder / "scans").mkdir()
    for name in ("a.h5", "b.h5"):
        with h5py.File(folder / "scans" / name, "w") as file:
            file["image"], file["age"] = images[:20], np.arange(20.0, 40.0)
            file["diagnosis"] = np.arange(20) % 2
            file["patient"] = np.arange(20) // 2 + 10 * (name == "b.h5")
    return folder


@pytest.fixture(scope="module")
def past(data: Path) -> Path:
    """A store with the studies that the docs read, trained once for all documents."""
    Study.made, Study.whole = [], None
    with contextlib.chdir(data), pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("RAYFOLD_STORAGE", raising=False)
        for name in ("letters", "digits-cnn", "digits-mlp", "digits"):
            Study(name, ...).run(NUM_TRIALS, show_progress=False)
        ages = rf.HDF5("digits.h5", labels="age")
        Study("ages", ..., data=ages).run(NUM_TRIALS, show_progress=False)
    return data / "rayfold-store" / "mlflow.db"


@pytest.fixture
def folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a document's code runs in."""
    for name in ("MLFLOW_TRACKING_URI", "RAYFOLD_STORAGE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(data, tmp_path / "here", ignore=shutil.ignore_patterns("rayfold-store"))
    for example in (ROOT / "tests" / "examples").glob("*.py"):
        shutil.copy(example, tmp_path / "here")
    with contextlib.chdir(tmp_path / "here"):
        yield tmp_path / "here"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_names_its_language(document: Path) -> None:
    opened = re.findall(r"^ *```(.*)$", document.read_text(), re.MULTILINE)[::2]
    assert [name for name in opened if name not in LANGUAGES] == []


@pytest.mark.parametrize("document", having("python", slow=TRAINING))
def test_python_runs(
    document: Path, folder: Path, past: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = folder / "rayfold-store"
    store.mkdir()
    shutil.copy(past, store / "mlflow.db")
    Study.made, Study.whole = [], None
    monkeypatch.setattr("rayfold.ensemble.budget.time", Still())  # limits are the docs' own
    with h5py.File("new.h5") as file:
        names: dict[str, Any] = {"rf": Rayfold(), "features": file["features"][:]}
    random_state = torch.get_rng_state()
    for block in blocks(document, "python"):
        named = re.match(r"# (\w+\.py)\n", block)
        if named or "class Net(" in block:
            file_name = named[1] if named else "net.py"
            Path(file_name).write_text(block)
            check_model(
                resolve_model(f"./{file_name}:Net"), rf.SearchSpace({"batch_size": rf.Choice(8)})
            )
            continue
        own = block.replace("import rayfold as rf\n", "")  # ours trains here
        for statement in ast.parse(own).body:
            if isinstance(statement, ast.Expr):  # to look at what it gives
                target = ast.Name("given", ast.Store())
                statement = ast.fix_missing_locations(
                    ast.copy_location(ast.Assign([target], statement.value), statement)
                )
            names["given"] = None
            exec(compile(ast.Module([statement], []), str(document), "exec"), names)
            if isinstance(names["given"], rf.HDF5):
                load(names["given"])
    for study in Study.made:
        study.plan(NUM_TRIALS)
    torch.set_rng_state(random_state)


def merged(whole: Any, part: Any) -> dict[str, Any]:
    """Return a recipe with the fields of a part of one; a call stands whole."""
    result = dict(whole)
    for name, value in part.items():
        known = result.get(name)
        both = isinstance(known, dict) and isinstance(value, dict)
        is_call = name in {"data", "searcher", "scheduler", "space"}
        result[name] = merged(known, value) if both and not is_call else value
    return result


@pytest.mark.parametrize("document", having("yaml"))
def test_recipes_are_valid(document: Path, folder: Path) -> None:
    whole = max(blocks(README, "yaml"), key=len)
    for block in blocks(document, "yaml"):
        # What is commented out is an alternative: the same field once more
        lines = block.splitlines()
        choices = [line for line in lines if re.match(r" *# \w+: ", line)]
        for choice in [None, *choices]:
            text = block
            if choice is not None:
                field = re.match(r"( *)# (\w+): ", choice)
                assert field is not None
                kept = [line for line in lines if not line.startswith(f"{field[1]}{field[2]}:")]
                text = "\n".join(kept).replace(choice, choice.replace("# ", "", 1))
            recipe = read_yaml(text, source=document.name)
            if "study" not in recipe:
                recipe = merged(read_yaml(whole, source="README"), recipe)
            Path("recipe.yaml").write_text(json.dumps(recipe))  # which is YAML
            rf.Study.from_recipe(load_recipe("recipe.yaml"))


def commands(document: Path) -> Iterator[list[str]]:
    """Yield the words of every command of the ``bash`` blocks."""
    for block in blocks(document, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if word not in {";", "&&", "||", "|"}:
                    words.append(word)
                elif words:
                    yield words
                    words = []


def spans(document: Path) -> list[list[str]]:
    """Return the words of what the prose says of ``rayfold``; they need not be a whole command."""
    prose = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [shlex.split(span) for span in re.findall(r"`(rayfold [^`]+)`", prose)]


@pytest.mark.parametrize("document", having("bash"))
def test_commands_are_those_of_the_command_line(document: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in commands(document):
        if "rayfold" in words:
            name, *arguments = words[words.index("rayfold") + 1 :]
            COMMANDS[name].make_context(name, arguments)
        elif words[0] == "make":
            assert words[1] in targets
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_prose_names_commands_and_options_that_there_are(document: Path) -> None:
    for _, name, *arguments in spans(document):
        known = {"--help"}
        if not name.startswith("-"):
            known.update(*(option.opts for option in COMMANDS[name].params))
        given = {word.partition("=")[0] for word in arguments if word.startswith("--")}
        assert given <= known, (name, given - known)

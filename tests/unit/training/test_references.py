import pickle
from pathlib import Path

import pytest

from rayfold.errors import ModelError
from rayfold.training import Learner, Strategy
from rayfold.training.learners import Supervised
from rayfold.training.references import LEARNERS, STRATEGIES
from rayfold.training.strategies import AllReduce
from rayfold.user_code import CodeRecord, SourceCode, all_files, find_source

LEARNER = """\
from rayfold.training import Learner

class Mine(Learner):
    def build(self): ...
    def train_batch(self, batch): ...
    def validate_batch(self, batch): ...

class Unfinished(Learner):
    def build(self): ...

class Other:
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(LEARNER)
    return tmp_path


def mine(folder: Path, name: str = "Mine") -> SourceCode:
    return LEARNERS.source(f"./mine.py:{name}", base=folder)


def test_a_name_and_the_class_itself_are_the_same() -> None:
    assert LEARNERS.load(LEARNERS.source("supervised")) is Supervised
    assert LEARNERS.load(LEARNERS.source(Supervised)) is Supervised
    assert STRATEGIES.load(STRATEGIES.source("all_reduce")) is AllReduce
    assert LEARNERS.source("supervised").is_ours


def test_a_file_travels_as_text(folder: Path) -> None:
    travelled = pickle.loads(pickle.dumps(mine(folder)))  # noqa: S301
    (folder / "mine.py").unlink()
    found = LEARNERS.load(travelled)
    assert issubclass(found, Learner)
    assert found.__name__ == "Mine"
    assert not travelled.is_ours


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Absent",
            r"^learner './mine.py:Absent': ./mine.py has no 'Absent'; it defines Mine, ",
        ),
        ("Other", r"^learner './mine.py:Other' must be a subclass of rayfold.training.Learner, "),
        (
            "Unfinished",
            r"^learner './mine.py:Unfinished' must define train_batch, validate_batch\.$",
        ),
    ],
)
def test_what_is_no_learner_is_told_in_a_line(folder: Path, name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        LEARNERS.load(mine(folder, name))


def test_an_unknown_name_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^strategy 'allreduce' is unknown \(did you mean 'all"):
        STRATEGIES.source("allreduce")
    with pytest.raises(ModelError, match=r"^a learner is a name, a reference or a class, got int"):
        LEARNERS.source(3)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"^learner ./no.py:Mine: cannot read .*no.py: No such"):
        LEARNERS.source("./no.py:Mine", base=tmp_path)


def test_the_codes_record_holds_the_files_of_a_learner_too(folder: Path) -> None:
    (folder / "net.py").write_text("class Net:\n    pass\n")
    net = find_source("./net.py:Net", base=folder)
    alone = CodeRecord.of(net, LEARNERS.source("supervised"), STRATEGIES.source("all_reduce"))
    assert (alone.digest, list(alone.files)) == (net.digest, ["net.py"])
    both = CodeRecord.of(net, mine(folder), STRATEGIES.source("all_reduce"))
    assert list(both.files) == ["mine.py", "net.py"]
    assert both.digest not in ("", net.digest)
    assert both.reference == "./net.py:Net"


def test_a_file_that_model_and_learner_share_counts_once(folder: Path) -> None:
    model = find_source("./mine.py:Other", base=folder)
    assert all_files(model, mine(folder)) == model.files
    assert CodeRecord.of(model, mine(folder)).digest == model.digest


def test_files_of_one_name_and_other_text_are_both_kept(folder: Path, tmp_path: Path) -> None:
    model = find_source("./mine.py:Other", base=folder)
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "mine.py").write_text(LEARNER + "\n")
    assert sorted(all_files(model, mine(place))) == ["learner/mine.py", "mine.py"]


def test_strategies_are_no_learners() -> None:
    with pytest.raises(ModelError, match="must be a subclass of"):
        LEARNERS.load(LEARNERS.source(AllReduce))
    assert issubclass(AllReduce, Strategy)

import os
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rayfold.errors import DataError
from rayfold.results import Config
from rayfold.simulation import Table, read_table
from rayfold.space import Choice, Float, Int, SearchSpace

SPACE = SearchSpace(
    {
        "rate": Float(0.0, 1.0),
        "layers": Int(1, 4),
        "name": Choice("sgd", "adamw"),
        "nesterov": Choice(True, False, when={"name": "sgd"}),
    }
)
CSV = """\
name,rate,layers,nesterov,score,seconds,comment
sgd,0.25,2,true,0.5,10,first
adamw,0.75,3,,0.4,20.5,
"""
CONFIGS = [
    {"rate": 0.25, "layers": 2, "name": "sgd", "nesterov": True},
    {"rate": 0.75, "layers": 3, "name": "adamw"},
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(CSV)
    return path


def rows(*rates: float, **changes: Any) -> Table:
    configs: list[Config] = [{"rate": rate, "layers": 2, "name": "adamw"} for rate in rates]
    scores = np.arange(float(len(rates)))[:, None]
    return Table(
        SPACE, configs, changes.pop("scores", scores), np.ones((len(rates), 1)), **changes
    )


# Files


def test_a_csv_is_read_with_the_types_of_the_space(path: Path) -> None:
    table = read_table(path, SPACE)
    assert table.configs == CONFIGS
    assert [type(value) for value in table.configs[0].values()] == [float, int, str, bool]
    assert table.scores.tolist() == [[0.5], [0.4]]
    assert table.seconds.tolist() == [[10.0], [20.5]]
    assert table.repeated


def test_an_hdf5_file_holds_the_same_as_data_sets(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["rate"], file["layers"] = [0.25, 0.75], [2, 3]
        file["name"], file["nesterov"] = ["sgd", "adamw"], [True, False]
        file["score"], file["seconds"] = [0.5, 0.4], [10.0, 20.5]
    table = read_table(tmp_path / "table.h5", SPACE)
    assert table.configs == CONFIGS
    assert table.scores.tolist() == [[0.5], [0.4]]


def test_scores_of_folds_and_their_own_running_times(path: Path) -> None:
    path.write_text(
        "name,rate,layers,nesterov,score_0,score_1,seconds_0,seconds_1\nadamw,0,1,,3,,5,6\n"
    )
    table = read_table(path, SPACE)
    assert not table.repeated
    assert np.array_equal(table.scores, [[3.0, np.nan]], equal_nan=True)
    assert table.seconds.tolist() == [[5.0, 6.0]]
    assert np.isnan(table.means).tolist() == [True]


def test_nan_is_an_empty_score(path: Path) -> None:
    path.write_text(CSV.replace("0.4,20.5", "nan,20.5"))
    assert np.array_equal(read_table(path, SPACE).scores, [[0.5], [np.nan]], equal_nan=True)


def test_repetitions_share_one_running_time_per_epoch(path: Path) -> None:
    path.write_text(
        "name,rate,layers,nesterov,repeat_0,repeat_1,epoch_seconds\nadamw,0,1,,3,4,5\n"
    )
    table = read_table(path, SPACE, epochs=12)
    assert table.repeated
    assert table.means.tolist() == [3.5]
    assert table.seconds.tolist() == [[60.0, 60.0]]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("rate", "rated", r"table\.csv: there is no column 'rate' \(did you mean 'rated'\?\)"),
        ("score", "sorce", "there is no column of scores .*did you mean"),
        ("seconds", "second", "there is no column of running times .*did you mean 'second'"),
        ("comment", "name", "the column 'name' is there twice"),
        ("comment", "score_0", "scores are given twice, as score_0 and score"),
        (
            "comment",
            "epoch_seconds",
            "running times are given twice, as seconds and epoch_seconds; keep one",
        ),
        ("comment", "seconds_0", "running times are given twice, as seconds and seconds_0"),
        ("0.75,3,,", "0.75,,,", r"table\.csv row 2: layers must be a whole number .* got ''"),
        ("0.25,2,true", "0.25,2,", "row 1: nesterov must be one of True, False, got ''"),
        ("adamw,0.75", "adam,0.75", "row 2: name must be one of 'sgd', 'adamw', got 'adam'"),
        ("0.75", "1.5", r"row 2: rate must be a number from 0\.0 to 1\.0, got '1\.5'"),
        ("0.4,20.5", "good,20.5", "row 2: score must be a finite number, got 'good'"),
        ("20.5", "", "row 2: seconds must be a finite number, got ''"),
        ("20.5", "-1", r"row 2: seconds must be a number from 0 to 1e\+09, got -1"),
        ("20.5", "1e308", r"row 2: seconds must be a number from 0 to 1e\+09, got 1e\+308"),
        ("comment", "score_1", "there is a column 'score_1' but no score_0; number them score_0"),
        ("comment", "repeat_01", "there is a column 'repeat_01' but no repeat_0"),
        ("comment", "seconds_2", "there is a column 'seconds_2' but no seconds_0"),
        (",first", "", "row 1: expected 7 values as in the header, got 6"),
        (CSV, "", "the table is empty"),
        ("sgd,0.25,2,true,0.5,10,first\nadamw,0.75,3,,0.4,20.5,\n", "", "there is no row"),
    ],
)
def test_a_wrong_table_is_one_line_that_names_row_and_column(
    path: Path, before: str, after: str, message: str
) -> None:
    path.write_text(CSV.replace(before, after, 1))
    with pytest.raises(DataError, match=message) as refused:
        read_table(path, SPACE)
    assert len(str(refused.value).splitlines()) == 1


def test_a_configuration_that_is_there_twice_is_refused(path: Path) -> None:
    path.write_text(CSV + "adamw,0.75,3,true,0.3,20,\n")
    with pytest.raises(DataError, match="rows 2 and 3 hold the same configuration"):
        read_table(path, SPACE)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=r"pipe\.csv: the table is no regular file; write it to"):
        read_table(tmp_path / "pipe.csv", SPACE)
    with pytest.raises(DataError, match=r"none\.csv: the table cannot be read \(No such file"):
        read_table(tmp_path / "none.csv", SPACE)
    (tmp_path / "image.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"image\.csv: this is no CSV in UTF-8"):
        read_table(tmp_path / "image.csv", SPACE)


def test_columns_of_an_hdf5_file_are_equally_long(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["rate"], file["layers"] = [0.25, 0.75], [2]
        file["name"], file["nesterov"] = ["sgd", "adamw"], [True, False]
    with pytest.raises(DataError, match=re.escape("equally long, got rate 2, layers 1")):
        read_table(tmp_path / "table.h5", SPACE)


# Rows


def test_a_configuration_with_a_row_of_its_own_is_found_exactly() -> None:
    found = rows(0.0, 0.5).find({"rate": 0.5, "layers": 2, "name": "adamw"})
    assert (found.row, found.exact) == (1, True)


def test_another_is_answered_by_the_nearest_row() -> None:
    found = rows(0.0, 0.5).find({"rate": 0.3, "layers": 2, "name": "adamw"})
    assert (found.row, found.exact) == (1, False)


def test_another_category_is_further_than_any_number() -> None:
    """Row 0 has the right name and the rate at distance 0.9, row 1 the right rate alone."""
    space = SearchSpace({"rate": Float(0.0, 1.0), "name": Choice("a", "b", "c")})
    configs: list[Config] = [{"rate": 0.95, "name": "c"}, {"rate": 0.05, "name": "a"}]
    table = Table(space, configs, np.zeros((2, 1)), np.ones((2, 1)))
    assert table.find({"rate": 0.05, "name": "c"}).row == 0


def test_a_choice_of_numbers_has_near_and_far_values() -> None:
    space = SearchSpace({"size": Choice(16, 32, 64, 128)})
    table = Table(space, [{"size": 16}, {"size": 128}], np.zeros((2, 1)), np.ones((2, 1)))
    assert [table.find({"size": size}).row for size in (32, 64)] == [0, 1]


def test_the_score_of_the_best_tenth() -> None:
    """20 rows that score 0 to 19, one of them failed: the 2 best have 0 and 1, or 18 and 17."""
    table = rows(*np.linspace(0, 1, 20).tolist())
    assert (table.good_score("min", 0.1), table.good_score("max", 0.1)) == (1.0, 18.0)
    assert table.good_score("min") == 0.0


def test_a_table_without_any_score_has_no_good_one() -> None:
    with pytest.raises(DataError, match="every row failed"):
        rows(0.0, scores=np.full((1, 1), np.nan)).good_score("min")

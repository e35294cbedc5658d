import json
import logging
import math
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from rayfold.errors import JournalError
from rayfold.journal import Journal, JournalReader, read_journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "digits" / "journal.jsonl"


def write(path: Path, *states: str) -> None:
    with Journal.open(path) as journal:
        for state in states:
            journal.append("run", state=state)


def states(path: Path) -> list[str]:
    return [entry.fields["state"] for entry in read_journal(path)]


def test_entries_come_back_in_order_and_numbered_from_zero(path: Path) -> None:
    with Journal.open(path) as journal:
        written = [
            journal.append("study", name="digits", description={"classes": [0, 1], "task": None}),
            journal.append("suggestion", trial="0000", config={"batch_size": 32, "lr": 0.1}),
        ]
    entries = read_journal(path)
    assert entries == written
    assert [entry.sequence for entry in entries] == [0, 1]
    assert entries[1].event == "suggestion"
    assert entries[1].fields == {"trial": "0000", "config": {"batch_size": 32, "lr": 0.1}}
    assert entries[0].time <= entries[1].time


def test_a_line_is_json_with_the_checksum_of_the_line_without_it(path: Path) -> None:
    write(path, "started")
    line = path.read_text().removesuffix("\n")
    record = json.loads(line)
    assert list(record) == ["sequence", "time", "event", "state", "crc32"]
    body = line.replace(f',"crc32":"{record["crc32"]}"', "")
    assert record["crc32"] == f"{zlib.crc32(body.encode()):08x}"


def test_non_finite_numbers_become_null_at_any_depth(path: Path) -> None:
    with Journal.open(path) as journal:
        entry = journal.append("fold", result={"score": math.nan, "history": ({"x": math.inf},)})
    assert entry.fields == {"result": {"score": None, "history": [{"x": None}]}}
    assert read_journal(path) == [entry]


def test_text_of_any_kind_survives(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.append("trial", error='one\n,"crc32":"00000000"}\ntwo\u2028 Größe \x00')
    [entry] = read_journal(path)
    assert entry.fields["error"] == 'one\n,"crc32":"00000000"}\ntwo\u2028 Größe \x00'


def test_opening_again_goes_on_with_the_numbers(path: Path) -> None:
    write(path, "started", "interrupted")
    write(path, "started")
    assert [entry.sequence for entry in read_journal(path)] == [0, 1, 2]


@pytest.mark.parametrize("num_bytes", [1, 2, 30])
def test_a_torn_last_line_is_cut_off_and_told(
    path: Path, num_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, "started", "interrupted")
    os.truncate(path, path.stat().st_size - num_bytes)
    assert states(path) == ["started"]
    with caplog.at_level(logging.WARNING):
        write(path, "finished")
    assert "cut off a torn last line" in caplog.text
    assert states(path) == ["started", "finished"]


def test_a_last_line_with_a_wrong_checksum_is_cut_off(path: Path) -> None:
    write(path, "started", "finished")
    path.write_bytes(path.read_bytes().replace(b"finished", b"finishes"))
    write(path, "interrupted")
    assert states(path) == ["started", "interrupted"]


def test_a_file_that_was_sound_is_not_told_about(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, "started")
    write(path, "finished")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ((b"interrupted", b"interrupteD"), "its checksum is wrong"),
        ((b',"crc32":', b',"crc":'), "it has no checksum"),
    ],
)
def test_a_damaged_line_in_the_middle_is_an_error_naming_it(
    path: Path, damage: tuple[bytes, bytes], why: str
) -> None:
    write(path, "started", "interrupted", "finished")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(*damage)
    path.write_bytes(b"".join(lines))
    match = rf"journal\.jsonl line 2 is damaged: {why}; restore"
    with pytest.raises(JournalError, match=match):
        read_journal(path)
    with pytest.raises(JournalError, match=match):
        Journal.open(path)
    with pytest.raises(JournalError, match=match):
        JournalReader(path).new_entries()


def test_a_lost_line_is_noticed_by_its_number(path: Path) -> None:
    write(path, "started", "interrupted", "started", "finished")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], *lines[2:]]))
    with pytest.raises(JournalError, match="line 2 is damaged: it is numbered 2 instead of 1"):
        read_journal(path)


def test_a_second_writer_is_refused_and_told_which_process_holds_it(path: Path) -> None:
    with (
        Journal.open(path),
        pytest.raises(JournalError, match=rf"is being written by process {os.getpid()} on \S+;"),
    ):
        Journal.open(path)
    Journal.open(path).close()


def test_another_process_is_refused_while_this_one_writes(path: Path) -> None:
    code = "import sys; from rayfold.journal import Journal; Journal.open(sys.argv[1])"
    with Journal.open(path):
        other = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
        )
    assert f"is being written by process {os.getpid()}" in other.stderr


def test_a_writer_that_was_killed_holds_nothing(path: Path) -> None:
    code = (
        "import os, sys; from rayfold.journal import Journal; "
        "Journal.open(sys.argv[1]).append('run', state='started'); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -9
    write(path, "finished")
    assert states(path) == ["started", "finished"]


def test_reading_needs_no_lock(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.append("run", state="started")
        assert states(path) == ["started"]


def test_a_reader_sees_each_entry_once_and_only_whole_lines(path: Path) -> None:
    reader = JournalReader(path)
    assert reader.new_entries() == []
    write(path, "started", "interrupted")
    assert [entry.sequence for entry in reader.new_entries()] == [0, 1]
    assert reader.new_entries() == []
    write(path, "finished")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert reader.new_entries() == []
    path.write_bytes(whole)
    assert [entry.fields["state"] for entry in reader.new_entries()] == ["finished"]


def test_a_journal_that_is_missing_is_named(path: Path) -> None:
    with pytest.raises(JournalError, match=r"no journal at .*journal\.jsonl; run the study"):
        read_journal(path)


def test_a_closed_journal_writes_nothing(path: Path) -> None:
    journal = Journal.open(path)
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="is closed; open the journal again"):
        journal.append("run", state="started")


def test_a_line_that_cannot_be_written_is_tried_again_as_long_as_it_is_wanted(
    small_disk: tuple[Path, Callable[[str], None]],
) -> None:
    folder, enlarge = small_disk
    told: list[str] = []

    def waits_after(error: JournalError) -> bool:
        told.append(str(error))
        if len(told) == 2:
            enlarge("8m")
        return len(told) < 3

    with Journal.open(folder / "journal.jsonl") as journal:
        journal.append("first")
        with pytest.raises(JournalError, match="No space left on device"):
            journal.append("second", text="x" * 2_000_000)
        assert [entry.event for entry in read_journal(journal.path)] == ["first"]
        journal.waits_after = waits_after
        journal.append("second", text="x" * 2_000_000)
        assert len(told) == 2
        assert [entry.event for entry in read_journal(journal.path)] == ["first", "second"]


def test_fields_cannot_take_the_names_of_the_line_itself(path: Path) -> None:
    with Journal.open(path) as journal, pytest.raises(ValueError, match="not be named 'time'"):
        journal.append("run", time=3)


def test_a_value_that_json_cannot_hold_leaves_the_journal_as_it_was(path: Path) -> None:
    with Journal.open(path) as journal:
        with pytest.raises(TypeError, match="not JSON serializable"):
            journal.append("run", state={1, 2})
        journal.append("run", state="started")
    assert states(path) == ["started"]


def test_a_text_that_no_utf8_can_hold_is_kept_as_escapes(path: Path) -> None:
    """An emoji, a pair of surrogates in JSON, stays one."""
    with Journal.open(path) as journal:
        entry = journal.append("trial", error="bad \ud800", names=["\U0001f600"])
    assert entry.fields == {"error": r"bad \ud800", "names": ["\U0001f600"]}
    assert [*read_journal(path)] == [entry]

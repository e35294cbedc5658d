from pathlib import Path

from rayfold.tuning.states import start_anew


def test_a_trial_that_begins_anew_loses_its_files_once_each_time(tmp_path: Path) -> None:
    result = tmp_path / "trials" / "0001" / "fold_0" / "result.json"
    for number in (1, 2):
        result.parent.mkdir(parents=True)
        result.write_text("of the old code")
        start_anew(tmp_path, "0001", number)
        assert not result.exists()
        result.parent.mkdir()
        result.write_text("of the new code")
        start_anew(tmp_path, "0001", number)
        assert result.read_text() == "of the new code"
        result.unlink()
        result.parent.rmdir()

from pathlib import Path

import pytest

from rayfold.errors import RecipeError, TrackingError
from rayfold.storage import fsync_folder, replacing, storage_folder
from rayfold.tracking import check_store


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_new_content_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["result.json"]


def test_until_the_end_readers_see_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent
        assert path.read_text() == "old"


def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["result.json"]


def test_those_who_may_read_the_folder_may_read_the_file(tmp_path: Path) -> None:
    """Some libraries write files that only their owner may read."""
    tmp_path.chmod(0o755)
    with replacing(tmp_path / "weights") as temporary:
        temporary.touch(mode=0o600)
    assert (tmp_path / "weights").stat().st_mode & 0o777 == 0o644


def test_an_error_before_anything_is_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "result.json"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "result.json"):
        pass
    assert names(tmp_path) == []


def test_a_target_that_cannot_be_replaced_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "result.json").mkdir()
    with pytest.raises(IsADirectoryError), replacing(tmp_path / "result.json") as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["result.json"]


def test_only_a_folder_can_be_made_to_last(tmp_path: Path) -> None:
    fsync_folder(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        fsync_folder(tmp_path / "file")


def test_the_storage_is_where_the_environment_says_or_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYFOLD_STORAGE", "/data/studies")
    assert storage_folder() == Path("/data/studies")
    monkeypatch.setenv("RAYFOLD_STORAGE", "studies")
    assert storage_folder() == tmp_path / "studies"
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("RAYFOLD_STORAGE")
        else:
            monkeypatch.setenv("RAYFOLD_STORAGE", unset)
        assert storage_folder() == tmp_path / "rayfold-store"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a\0b", r"storage \S+/a\\x00b: a path must not hold the character 0\."),
        ("a" * 5000, r"a{100}: the path is too long, at most 255 bytes for a name and 3840 for"),
        ("a" * 255 + "/" + "b/" * 2000, "the path is too long"),
        ("ä" * 128, "the path is too long"),
    ],
)
def test_a_path_that_no_folder_can_have_is_refused(path: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        storage_folder(path)
    assert len(str(caught.value)) < 500


def test_the_home_may_be_written_as_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert storage_folder("~/studies") == tmp_path / "studies"
    monkeypatch.setenv("RAYFOLD_STORAGE", "~")
    assert storage_folder() == tmp_path
    with pytest.raises(RecipeError, match=r"^storage ~nosuchuser/a: Could not determine home dir"):
        storage_folder("~nosuchuser/a")


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("postgresql+psycopg2://me:secret@host/runs", r"//host/runs needs .* psycopg2, .* pip "),
        ("mysql://host/runs", r"needs the Python module MySQLdb, .*: pip install mysqlclient$"),
        ("postgresql+nonsense://host/runs", r"cannot be asked: .*nonsense; check MLFLOW_TRACKING"),
    ],
)
def test_a_database_without_its_driver_is_told_with_what_to_install(uri: str, told: str) -> None:
    with pytest.raises(TrackingError, match=told):
        check_store(uri)

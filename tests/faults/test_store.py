"""MLflow that is down, that hangs, and that is no database: studies go on, and upload later."""

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import SmallStudy


@pytest.fixture
def hanging() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def down() -> str:
    """An address that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_studies_are_trained_while_mlflow_hangs_or_is_down_and_are_uploaded_later(
    study: "SmallStudy", other_study: "SmallStudy", hanging: str, down: str
) -> None:
    """Side by side, since both wait for MLflow for two minutes in the end."""
    study.environment = {"MLFLOW_TRACKING_URI": hanging}
    other_study.environment = {"MLFLOW_TRACKING_URI": down}
    commands = [study.start(), other_study.start()]
    for command in commands:
        assert command.status() == 0, command.output
        assert "does not hold everything yet" in command.output
        assert command.leaves_nothing()
    assert "out of reach" in commands[1].output
    before = study.results, other_study.results

    (study.folder / "broken.db").write_bytes(b"this is no database" * 1000)
    study.environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{study.folder / 'broken.db'}"}
    command = study.run()
    assert command.process.returncode == 2, command.output
    [line] = command.output.splitlines()
    assert "broken.db is no SQLite database" in line

    for each, results in zip((study, other_study), before, strict=True):
        each.environment = {}
        command = each.run()
        assert command.process.returncode == 0, command.output
        each.check_whole(results)

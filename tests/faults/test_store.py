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


def test_a_study_is_trained_while_mlflow_hangs_and_is_uploaded_when_it_is_back(
    study: "SmallStudy", hanging: str
) -> None:
    study.environment = {"MLFLOW_TRACKING_URI": hanging}
    command = study.run()
    assert command.process.returncode == 0, command.output
    assert "does not hold everything yet" in command.output
    assert command.leaves_nothing()
    before = study.results
    study.environment = {}
    command = study.run()
    assert command.process.returncode == 0, command.output
    study.check_whole(before)


def test_a_study_is_trained_while_mlflow_is_down(study: "SmallStudy", down: str) -> None:
    study.environment = {"MLFLOW_TRACKING_URI": down}
    command = study.run()
    assert command.process.returncode == 0, command.output
    assert "out of reach" in command.output
    before = study.results
    (study.folder / "broken.db").write_bytes(b"this is no database" * 1000)
    study.environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{study.folder / 'broken.db'}"}
    command = study.run()
    assert command.process.returncode == 2, command.output
    [line] = command.output.splitlines()
    assert "no database" in line
    study.environment = {}
    command = study.run()
    assert command.process.returncode == 0, command.output
    study.check_whole(before)

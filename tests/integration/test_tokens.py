"""A cluster that Ray protects by a token is joined with it, and refused in one line without."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

JOIN = """
import sys
from rayfold.errors import ResourcesError
from rayfold.groups.cluster import cluster
try:
    with cluster(sys.argv[1]):
        print("joined")
except ResourcesError as error:
    print(error)
"""
TIMEOUT_S = 120


class Head:
    """A Ray of one node with a token in a home folder of its own."""

    def __init__(self, home: Path, temporary: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self.token = secrets.token_hex(32)
        (home / ".ray").mkdir(parents=True)
        (home / ".ray" / "auth_token").write_text(self.token)
        self.home = home
        self.process = subprocess.Popen(
            [
                Path(sysconfig.get_path("scripts"), "ray"),
                *("start", "--head", "--block", "--node-ip-address", "127.0.0.1"),
                *("--port", str(port), "--num-cpus", "1", "--include-dashboard", "false"),
                *("--temp-dir", temporary),
            ],
            env=environment(HOME=str(home), RAY_AUTH_MODE="token"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "Ray runtime started" in line:
                return
        pytest.fail("Ray has not started")

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def join(self, **variables: str) -> str:
        """Join it from a fresh process; return what that says."""
        done = subprocess.run(
            [sys.executable, "-c", JOIN, self.address],
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return done.stdout


def environment(**variables: str) -> dict[str, str]:
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS")
    return {k: v for k, v in os.environ.items() if k not in names} | variables


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with tempfile.TemporaryDirectory(prefix="rf-", ignore_cleanup_errors=True) as temporary:
        head = Head(tmp_path_factory.mktemp("home"), Path(temporary))  # sockets: a short path
        try:
            yield head
        finally:
            head.stop()


def test_it_is_joined_with_the_token_from_a_variable_or_a_file(head: Head, tmp_path: Path) -> None:
    elsewhere = tmp_path / "token"
    elsewhere.write_text(head.token)
    home = {"HOME": str(tmp_path), "RAY_AUTH_MODE": "token"}
    assert head.join(**home, RAY_AUTH_TOKEN=head.token) == "joined\n"
    assert head.join(**home, RAY_AUTH_TOKEN_PATH=str(elsewhere)) == "joined\n"
    assert head.join(HOME=str(head.home), RAY_AUTH_MODE="token") == "joined\n"


GIVE_TOKEN = (
    "set RAY_AUTH_MODE=token, and give the cluster's token in RAY_AUTH_TOKEN or in the file "
    "~/.ray/auth_token (README.md, On a cluster).\n"
)


def test_a_mode_without_a_token_is_told_at_once(head: Head, tmp_path: Path) -> None:
    told = head.join(HOME=str(tmp_path), RAY_AUTH_MODE="token")
    assert told == f"the Ray cluster at '{head.address}' asks for its token; {GIVE_TOKEN}"


@pytest.mark.parametrize("variables", [{}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}])
def test_it_is_told_what_to_set_where_the_token_is_missing_or_wrong(
    head: Head, tmp_path: Path, variables: dict[str, str]
) -> None:
    """Ray logs the reason from C++, and raises no more than that it cannot connect."""
    told = head.join(HOME=str(tmp_path), **variables)
    assert told.startswith(f"no Ray answers at '{head.address}' (Failed to connect to Ray cluster")
    assert told.endswith(f"where Ray has logged InvalidAuthToken, {GIVE_TOKEN}")

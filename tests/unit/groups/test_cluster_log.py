import errno
import logging

import pytest
from ray._private.worker import print_to_stdstream
from ray.exceptions import RayTaskError

from rayfold.errors import DispatcherLostError, ResourcesError
from rayfold.groups.cluster import _is_news, _without_messages_of_ray, host_and_port


def record(error: Exception | None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, None)
    return logging.LogRecord("ray.tune", logging.ERROR, "file", 1, "failed", (), info)


@pytest.mark.parametrize(
    "cause",
    [DispatcherLostError("it has died"), OSError(errno.ENOSPC, "No space left on device")],
)
def test_what_the_study_says_once_is_not_told_by_every_trial(cause: Exception) -> None:
    assert not _is_news(record(RayTaskError("step", "traceback", cause)))
    assert not _is_news(record(cause))


@pytest.mark.parametrize("address", ["nonsense", "localhost:port", ":6379", "a:0", "ray://a", ""])
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(ResourcesError, match=r"^address must be HOST:PORT, .* got '"):
        host_and_port(address)


def test_all_else_is_told() -> None:
    assert _is_news(record(RayTaskError("step", "traceback", KeyError("score"))))
    assert _is_news(record(None))


def test_ray_prints_no_guesses_while_we_tell_the_cause(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray._private.worker._worker_logs_enabled", True)

    def print_guess(line: str) -> None:
        message = {"lines": [line], "pid": "raylet", "is_err": False}
        print_to_stdstream(message, ignore_prefix=False)

    with _without_messages_of_ray():
        print_guess("the process was killed by the OOM killer")
    assert capsys.readouterr().out == ""
    print_guess("another line of Ray's")
    assert "another line" in capsys.readouterr().out

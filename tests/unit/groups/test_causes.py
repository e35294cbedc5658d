"""What is told of a group whose worker has raised an error of its own."""

from pathlib import Path

from ray.exceptions import RayTaskError

from rayfold.groups.launchers import ray_train
from rayfold.tracebacks import summary


def test_an_error_in_a_worker_is_told_by_its_message_and_the_line_of_the_users_code() -> None:
    text = (
        "\x1b[36mray::GroupWorker.run()\x1b[39m (pid=1, ip=127.0.0.1)\n"
        '  File "/home/user/net.py", line 3, in forward\n    wrong()\n'
        "AttributeError: no such layer"
    )
    error = RayTaskError("run", text, AttributeError("no such layer"), ip="127.0.0.1", pid=1)
    cause, details = ray_train._cause(error.as_instanceof_cause(), Path("none.txt"))
    assert cause == "AttributeError: no such layer"
    assert summary(f"{details}\n{cause}") == f"{cause} (net.py line 3, in forward)"

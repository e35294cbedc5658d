import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import psutil
import pytest

from rayfold.groups import ray_processes
from rayfold.groups.ray_processes import RayProcesses

LONG_SECONDS = 60.0
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
input()
"""


@pytest.fixture
def parent() -> Iterator[tuple[psutil.Process, psutil.Process]]:
    """A process that waits for its input, and its child, which does the same."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    yield psutil.Process(process.pid), child
    for each in (process, child):
        if each.poll() is None if isinstance(each, subprocess.Popen) else each.is_running():
            each.kill()
    process.communicate()


def test_while_all_live_there_is_nothing_to_tell(
    parent: tuple[psutil.Process, psutil.Process],
) -> None:
    with closing(RayProcesses({"the raylet": parent[0]})) as processes:
        assert processes.wait(0.01) is None


@pytest.mark.parametrize("notified", [True, False])
def test_a_death_ends_the_wait(
    notified: bool,
    parent: tuple[psutil.Process, psutil.Process],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a system without file descriptors of processes they are looked at again and again."""
    if not notified:
        monkeypatch.delattr("os.pidfd_open", raising=False)
    with closing(RayProcesses({"the raylet": parent[0]})) as processes:
        parent[0].kill()
        seen = [processes.wait(LONG_SECONDS) for _ in range(2)]
        assert seen[1] == "the raylet has died"


def test_the_children_of_a_dead_process_are_ended_too(
    parent: tuple[psutil.Process, psutil.Process],
) -> None:
    process, child = parent
    started = frozenset([process])
    with closing(RayProcesses({"the raylet": process}, started=started)) as processes:
        assert processes.wait(0.01) is None
        process.kill()
        processes.kill()
        _, alive = psutil.wait_procs([child], timeout=LONG_SECONDS)
        assert not alive


def test_a_head_that_does_not_answer_three_times_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_processes, "ASK_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = head.getsockname()[:2]
        with closing(RayProcesses({}, head=address)) as processes:
            assert processes.wait(0.0) is None
            head.close()
            said = [processes.wait(0.0) for _ in range(3)]
    assert said == [
        None,
        None,
        f"the head of the Ray cluster at 127.0.0.1:{address[1]} does not answer",
    ]

"""The processes of Ray that a driver needs, and whether they live."""

import math
import os
import select
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import psutil
import ray

POLL_SECONDS = 0.2
"""Seconds between two checks of a process, if the system cannot report its end."""

LOOK_SECONDS = 3.0
"""Seconds between two notes of which processes these have started, which reads all of /proc."""

ASK_SECONDS = 5.0
"""Seconds between two checks of the head of a joined cluster."""

ANSWER_SECONDS = 5.0
"""Seconds to wait for its answer."""

MAX_SILENT = 3
"""Number of checks without an answer after which the head is lost."""


class RayProcesses:
    """Watches the Ray that a driver is connected to.

    A driver whose raylet or control service (GCS) is gone hangs for minutes, or Ray ends it
    without a message. So the loss is reported at once.

    Args:
        needed: The processes on this machine that must live, by name.
        started: All processes that this driver has started with them.
        head: Host and port of a joined cluster's control service; None if it is in ``needed``.
    """

    def __init__(
        self,
        needed: Mapping[str, psutil.Process],
        *,
        started: "frozenset[psutil.Process]" = frozenset(),
        head: tuple[str, int] | None = None,
    ) -> None:
        self._needed, self._started, self._head = dict(needed), started, head
        self._family: set[psutil.Process] = set(started)
        self._looked_at, self._asked_at, self._num_silent = -math.inf, time.monotonic(), 0
        self._files = ExitStack()
        self._poll = select.poll()
        self._notified = hasattr(os, "pidfd_open")
        for process in self._needed.values():
            with suppress(OSError):  # it is gone already: the first look finds that
                if self._notified:
                    file = os.pidfd_open(process.pid)
                    self._files.callback(os.close, file)
                    self._poll.register(file, select.POLLIN)

    @classmethod
    def of_driver(cls, *, own: bool) -> Self:
        """Return the processes of the Ray that this process is connected to.

        Args:
            own: Whether this process has started that Ray.
        """
        here = ray.get_runtime_context().get_node_id()
        [place] = [node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == here]
        if own:
            session = str(Path(place).parents[1])
            children = psutil.Process().children()
            started = frozenset(child for child in children if session in _command(child))
            names = {"raylet": "Ray's raylet", "gcs_server": "Ray's control service (GCS)"}
            needed = {names[child.name()]: child for child in started if child.name() in names}
            return cls(needed, started=started)
        raylets = [process for process in psutil.process_iter() if place in _command(process)]
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        raylet = next((found for found in raylets if found.name() == "raylet"), None)
        return cls(
            {} if raylet is None else {"this node's raylet": raylet},
            head=(host.strip("[]"), int(port)),
        )

    def wait(self, seconds: float) -> str | None:
        """Wait for a death for a limited time; return a sentence about it, or None."""
        if self._notified:
            self._poll.poll(1000 * seconds)
        else:
            time.sleep(min(seconds, POLL_SECONDS))
        for name, process in self._needed.items():
            if not _is_running(process):
                return f"{name} has died"
        if time.monotonic() - self._looked_at >= LOOK_SECONDS:
            self._look()
        return self._ask_head()

    def kill(self) -> None:
        """Kill all processes that were started with them, and their children."""
        self._look()
        for process in tuple(self._family):  # another thread may be adding to it
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def close(self) -> None:
        """Stop watching."""
        self._files.close()

    def _look(self) -> None:
        """Note the children of the processes; they cannot be found once these are dead."""
        self._looked_at = time.monotonic()
        for process in self._started:
            with suppress(psutil.NoSuchProcess):
                self._family |= set(process.children(recursive=True))

    def _ask_head(self) -> str | None:
        if self._head is None or time.monotonic() - self._asked_at < ASK_SECONDS:
            return None
        try:
            socket.create_connection(self._head, timeout=ANSWER_SECONDS).close()
            self._num_silent = 0
        except OSError:
            self._num_silent += 1
        self._asked_at = time.monotonic()
        if self._num_silent < MAX_SILENT:
            return None
        return "the head of the Ray cluster at {}:{} does not answer".format(*self._head)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return ""


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

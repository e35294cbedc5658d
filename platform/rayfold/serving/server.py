"""Serves a bundle on this machine until it is told to end."""

import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ray import serve

from rayfold.bundle import load_for_serving
from rayfold.errors import ResourcesError
from rayfold.groups.cluster import cluster
from rayfold.serving.deployment import application

HOST = "127.0.0.1"

_NAME = "rayfold"


def serve_bundle(
    folder: Path,
    *,
    port: int,
    max_batch_size: int,
    batch_wait_seconds: float,
    num_replicas: int,
    allow_code: bool,
    ready: Callable[[], None],
) -> None:
    """Serve a bundle on 127.0.0.1 until SIGINT or SIGTERM; then end everything that it started.

    Args:
        folder: The bundle.
        port: Port to listen on.
        max_batch_size: Requests that are predicted together.
        batch_wait_seconds: How long the first of them waits for others.
        num_replicas: Processes that predict.
        allow_code: Run the code of its models, if it has no ONNX program.
        ready: Called once requests are answered.

    Raises:
        BundleError: If the bundle cannot be loaded; then nothing is started.
        ResourcesError: If the port is taken, or Ray does not start.
    """
    check_free_port(port)
    load_for_serving(folder, allow_code=allow_code)
    ended = threading.Event()
    with (
        _on_signals(ended),
        cluster("local"),
        running(
            folder,
            port=port,
            num_replicas=num_replicas,
            max_batch_size=max_batch_size,
            batch_wait_seconds=batch_wait_seconds,
            allow_code=allow_code,
        ),
        _on_signals(ended),  # again: Ray has taken SIGTERM when it started
    ):
        ready()
        ended.wait()


@contextmanager
def running(
    folder: Path,
    *,
    port: int,
    num_replicas: int = 1,
    max_batch_size: int = 32,
    batch_wait_seconds: float = 0.005,
    allow_code: bool = False,
) -> Iterator[str]:
    """Serve a bundle during the block, on the Ray that this process is connected to.

    Arguments are those of ``serve_bundle``.

    Yields:
        The URL for requests.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": HOST, "port": port},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )
    try:
        serve.run(
            application(
                folder,
                num_replicas=num_replicas,
                max_batch_size=max_batch_size,
                batch_wait_seconds=batch_wait_seconds,
                allow_code=allow_code,
            ),
            name=_NAME,
        )
        yield f"http://{HOST}:{port}/"
    finally:
        serve.shutdown()


def check_free_port(port: int) -> None:
    """Refuse a port on which another server listens.

    Raises:
        ResourcesError: If another server listens there.
    """
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
        except OSError as error:
            raise ResourcesError(
                f"port {port} on {HOST} cannot be used ({error.strerror}); give another --port."
            ) from None


@contextmanager
def _on_signals(ended: threading.Event) -> Iterator[None]:
    """Set the event on SIGINT and SIGTERM, so that its waiter ends in order."""

    def end(_: int, __: FrameType | None) -> None:
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

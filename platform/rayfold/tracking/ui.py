"""The MLflow UI for the store of the studies."""

import os
import socket
import sys
from pathlib import Path

from rayfold.errors import TrackingError
from rayfold.tracking.store import sqlite_file, tracking_uri


def ui_command(storage: Path, *, port: int) -> tuple[list[str], dict[str, str]]:
    """Return the command that serves the MLflow UI on 127.0.0.1, and its environment variables.

    Args:
        storage: Folder of all studies.
        port: Port to listen on.

    Raises:
        TrackingError: If there is no store yet, the store is a server with a UI of its own, or
            the port is taken.
    """
    uri = tracking_uri(storage)
    if uri.startswith(("http://", "https://")):
        raise TrackingError(f"the MLflow server at {uri} has its own UI; open it in a browser.")
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        raise TrackingError(f"{file} does not exist; run a study first, or name its storage.")
    _check_free(port)
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        uri,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        "--uvicorn-opts=--log-level=warning",
    ]
    defaults = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight more processes, for language models
    }
    return command, {name: os.environ.get(name, value) for name, value in defaults.items()}


def _check_free(port: int) -> None:
    """Refuse a port on which another server listens, whose pages would be shown instead."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", port))
        except OSError as error:
            raise TrackingError(
                f"port {port} on 127.0.0.1 cannot be used ({error.strerror}); give another port."
            ) from None

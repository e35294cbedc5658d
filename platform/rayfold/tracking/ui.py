"""The MLflow UI, on the store of our studies."""

import os
import sys
from pathlib import Path

from rayfold.errors import TrackingError
from rayfold.tracking.store import sqlite_file, tracking_uri


def ui_command(storage: Path, *, port: int) -> tuple[list[str], dict[str, str]]:
    """Return the command that serves the MLflow UI on 127.0.0.1, and what its environment needs.

    Args:
        storage: Folder of all studies.
        port: Port to listen on.

    Raises:
        TrackingError: If there is no store yet, or the store is a server with a UI of its own.
    """
    uri = tracking_uri(storage)
    if uri.startswith(("http://", "https://")):
        raise TrackingError(f"the MLflow server at {uri} has its own UI; open it in a browser.")
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        raise TrackingError(f"{file} does not exist; run a study first, or name its storage.")
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
    ]
    return command, {
        "MLFLOW_DISABLE_TELEMETRY": os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true")
    }

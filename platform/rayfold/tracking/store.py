"""The MLflow store: where it is, opening it quietly, and creating it whole."""

import fcntl
import importlib
import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from rayfold.errors import TrackingError
from rayfold.storage import STORE_FILE, fsync_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_DRIVERS = {
    "psycopg": "'psycopg[binary]'",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
}
_PAGE_SIZE = 1000
_ESCAPES = str.maketrans({sign: quote(sign) for sign in "%?#"})
_CREDENTIALS = re.compile(r"://[^/@\s]+@")


class StoreError(TrackingError):
    """A permanent fault of the store: it is not a database, or its experiment is deleted."""


def tracking_uri(storage: Path) -> str:
    """Return ``$MLFLOW_TRACKING_URI``, or the SQLite file ``mlflow.db`` in ``storage``."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(storage.absolute() / STORE_FILE)


def experiment_name() -> str:
    """Return ``$MLFLOW_EXPERIMENT_NAME``, or ``"rayfold"``."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "rayfold"


def sqlite_uri(file: Path) -> str:
    """Return the URI of an SQLite file, with special characters escaped."""
    return f"sqlite:///{str(file).translate(_ESCAPES)}"


def sqlite_file(uri: str) -> Path | None:
    """Return the file behind a ``sqlite:///`` URI; None for any other store."""
    path = uri.removeprefix("sqlite:///")
    return Path(unquote(path.partition("?")[0])) if path not in (uri, "", ":memory:") else None


def check_store(uri: str) -> None:
    """Check that an existing SQLite file is a database, or that a database's driver is installed.

    MLflow would try for minutes to open it.

    Raises:
        StoreError: If it is not a database, or the driver is not installed.
    """
    file = sqlite_file(uri)
    if file is None and holds_own_artifacts(uri):
        _check_driver(uri)
    if file is None or not file.exists():
        return
    what = "is a folder" if file.is_dir() else None
    if what is None:
        try:
            with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as opened:
                opened.execute("select count(*) from sqlite_master")
        except sqlite3.OperationalError:
            return  # it is locked, or out of reach: that may pass
        except sqlite3.DatabaseError as error:
            what = f"is no SQLite database ({error})"
    if what is not None:
        raise StoreError(
            f"{file} {what}, so it cannot be MLflow's store; move it away, or name another one "
            "with storage=, RAYFOLD_STORAGE or MLFLOW_TRACKING_URI."
        )


def _check_driver(uri: str) -> None:
    """Check that the driver of a database is installed."""
    engine: Any = importlib.import_module("sqlalchemy.engine")  # MLflow's dependency, not ours
    try:
        engine.make_url(uri).get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        module = str(error.name)
        raise StoreError(
            f"MLflow's store at {without_password(uri)} needs the Python module {module}, which "
            f"is not installed; run: pip install {_DRIVERS.get(module, module)}"
        ) from None
    except Exception as error:  # a malformed URI, say
        raise StoreError(
            f"MLflow's store at {without_password(uri)} cannot be asked: {describe(error)}; "
            "check MLFLOW_TRACKING_URI."
        ) from error


def holds_own_artifacts(uri: str) -> bool:
    """Tell whether ``uri`` is a database, without a server that decides where artifacts are."""
    return uri.split(":", 1)[0].split("+", 1)[0] in _DATABASES


def describe(error: Exception) -> str:
    """Return the error in one line, without the password of a URI."""
    return without_password((str(error).strip() or type(error).__name__).splitlines()[0])


def is_refusal(error: Exception) -> bool:
    """Tell whether the store refuses the request, so that a later try does not help."""
    return (
        isinstance(error, UnicodeError | TypeError)
        or getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE"
    )


def without_password(text: str) -> str:
    """Return ``text`` without the user and the password of the URIs in it."""
    return _CREDENTIALS.sub("://", text)


def open_store(uri: str) -> "MlflowClient":
    """Return a client of the store at ``uri``; a missing SQLite file is created.

    MLflow's environment variables get Rayfold's defaults unless the user has set them: no
    telemetry and no console output. For a server: short timeouts and no retries. A repeated
    request could create a run twice, and a dead server would hold a call for minutes.
    """
    defaults = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    if uri.startswith(("http://", "https://")):
        defaults |= {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)

    from mlflow import MlflowClient

    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    if (file := sqlite_file(uri)) is None:
        return MlflowClient(tracking_uri=uri)
    check_store(uri)
    _create_sqlite(file)
    with _without_stray_folder(uri):
        return MlflowClient(tracking_uri=uri)


@contextmanager
def _without_stray_folder(uri: str) -> Iterator[None]:
    """Remove the empty folder that MLflow makes for a URI with escapes, which it cannot read."""
    folder = Path(uri.removeprefix("sqlite:///")).parent
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    finally:
        for place in made:
            with suppress(OSError):
                place.rmdir()


def open_experiment(client: "MlflowClient", name: str, artifacts: Path) -> str:
    """Return an experiment's id; a missing experiment is created.

    Args:
        client: The store.
        name: The experiment's name.
        artifacts: Folder of the artifacts of a new one, if no server decides that.

    Raises:
        StoreError: If it was deleted.
    """
    existing = find_experiment(client, name)
    if existing is not None:
        return existing
    own = holds_own_artifacts(client.tracking_uri)
    location = artifacts.absolute().as_uri() if own else None
    return str(client.create_experiment(name, artifact_location=location))


def find_experiment(client: "MlflowClient", name: str) -> str | None:
    """Return an experiment's id; None if there is none.

    Raises:
        StoreError: If it was deleted.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return None
    if experiment.lifecycle_stage == "deleted":
        place = without_password(client.tracking_uri)
        raise StoreError(
            f"MLflow's experiment {name!r} was deleted in {place}; restore it by 'mlflow "
            f"experiments restore -x {experiment.experiment_id}' with MLFLOW_TRACKING_URI set to "
            "that, or name another one in MLFLOW_EXPERIMENT_NAME."
        )
    return str(experiment.experiment_id)


def search_runs(
    client: "MlflowClient",
    experiment_id: str,
    tags: dict[str, str],
    *,
    deleted: bool = False,
    page_size: int = _PAGE_SIZE,
) -> Iterator["Run"]:
    """Yield the runs of an experiment that carry all of ``tags``, oldest first, page by page.

    Args:
        client: The store.
        experiment_id: MLflow's number of the experiment.
        tags: Tag names and the values to match; values hold no quotes.
        deleted: Also yield the runs that were deleted.
        page_size: How many runs to ask for at once.
    """
    from mlflow.entities import ViewType

    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment_id],
            filter_string=" and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items()),
            run_view_type=ViewType.ALL if deleted else ViewType.ACTIVE_ONLY,
            max_results=page_size,
            order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _create_sqlite(file: Path) -> None:
    """Create MLflow's tables in a temporary file and rename it.

    MLflow migrates a new file step by step for seconds. A process killed in this time would leave
    a store that MLflow cannot open, and two processes at once would damage it.
    """
    if file.exists():
        return
    from mlflow.store.db import utils

    database: Any = utils  # untyped
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file.exists():
            return
        unfinished = file.with_name(f".{file.name}.new")
        unfinished.unlink(missing_ok=True)
        engine = database.create_sqlalchemy_engine(sqlite_uri(unfinished))
        try:
            database._initialize_tables(engine)
        finally:
            engine.dispose()
        unfinished.rename(file)
        fsync_folder(file.parent)

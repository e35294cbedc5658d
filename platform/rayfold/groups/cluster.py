"""The Ray cluster that a study runs on: an existing one is joined, else Ray is started here."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import ray
from ray._private import ray_constants, worker

from rayfold.errors import DispatcherLostError, ResourcesError
from rayfold.groups.plan import Groups
from rayfold.groups.ray_processes import RayProcesses
from rayfold.machine import machine_fault

_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the journal holds what they would write
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the study has its own
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # resuming never reads Tune's snapshot
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere that was not asked for
    "RAY_AIR_NEW_OUTPUT": "0",  # progress is ours
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # what ends a worker is told by whoever starts it again
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a model may open files relative to where it was started
}


logger = logging.getLogger(__name__)


@contextmanager
def cluster(address: str | None = None) -> Iterator[RayProcesses]:
    """Connect to Ray for the length of the block.

    An existing connection is used and kept. Otherwise ``address``, else ``$RAY_ADDRESS``, is
    joined and left again. Without either, Ray is started on this machine, where it listens only on
    127.0.0.1, and ended afterwards.

    Yields:
        A watch that reports when Ray is gone.

    Raises:
        ResourcesError: If no cluster answers at the address.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("ray.tune", "ray._private.authentication"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ray.tune.execution.tune_controller").addFilter(_is_news)
    if ray.is_initialized():
        with closing(RayProcesses.of_driver(own=False)) as processes:
            yield processes
        return
    check_reachable(address)
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    _connect(address)
    _protect_token()
    try:
        own = address == "local"
        with closing(RayProcesses.of_driver(own=own)) as processes, _without_messages_of_ray():
            yield processes
    finally:
        ray.shutdown()


@contextmanager
def _without_messages_of_ray() -> Iterator[None]:
    """Stop Ray from printing guesses, in colours, at why a worker died; we report the cause."""
    before = worker._worker_logs_enabled
    worker._worker_logs_enabled = False
    try:
        yield
    finally:
        worker._worker_logs_enabled = before


def _is_news(record: logging.LogRecord) -> bool:
    """Hide messages that the study reports once: a lost dispatcher, a fault of the machine."""
    error = _cause(record.exc_info[1]) if record.exc_info else None
    lost = isinstance(error, DispatcherLostError)
    return error is None or not (lost or machine_fault(error, Path.cwd()))


def _cause(error: BaseException | None) -> BaseException | None:
    return error.cause if isinstance(error, ray.exceptions.RayTaskError) else error


def check_reachable(address: str | None = None) -> None:
    """Refuse at once an address at which nothing listens; Ray itself tries for many minutes.

    Args:
        address: As for ``cluster``.

    Raises:
        ResourcesError: If nothing listens there.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    place = None if ray.is_initialized() else host_and_port(address)
    if place is None:
        return
    try:
        socket.create_connection(place, timeout=10).close()
    except OSError as error:
        raise ResourcesError(
            f"no Ray cluster answers at {address!r} ({error.strerror or error}); "
            f"check RAY_ADDRESS or address."
        ) from None


def host_and_port(address: str) -> tuple[str, int] | None:
    """Return host and port of a cluster's address; None if only Ray knows them.

    Raises:
        ResourcesError: If it is not an address.
    """
    if address in ("local", "auto"):
        return None
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if "://" in host:
        return None  # of a service that only Ray knows
    if not host or not (port.isdecimal() and 0 < int(port) < 2**16):
        raise ResourcesError(
            f"address must be HOST:PORT, ray://HOST:PORT, 'auto' or 'local', got {address!r}; "
            "check RAY_ADDRESS or address."
        )
    return host.strip("[]"), int(port)


def check_room(groups: Groups, address: str | None = None) -> None:
    """Check that a cluster that cannot grow holds at least one group.

    Args:
        groups: The requested groups.
        address: Address of the joined cluster, as for ``cluster``.

    Raises:
        ResourcesError: If no group will ever fit, because Ray runs on this machine only.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) > 1 or address or os.environ.get("RAY_ADDRESS"):
        return  # others may join
    total = nodes[0]["Resources"]
    for name, amount in groups.worker_resources.items():
        needed = groups.workers * amount
        if total.get(name, 0.0) < needed:
            raise ResourcesError(
                f"a group of {groups.workers} worker(s) needs {needed:g} {name}, but this machine "
                f"has {total.get(name, 0.0):g}; lower groups.workers or "
                f"groups.{name.lower()}s_per_worker."
            )


_GIVE_TOKEN = (
    "set RAY_AUTH_MODE=token, and give the cluster's token in RAY_AUTH_TOKEN or in the file "
    "~/.ray/auth_token (README.md, On a cluster)"
)


def _connect(address: str) -> None:
    """Join or start Ray; on a busy machine a failed start is tried once more."""
    own = address == "local"
    options = {"include_dashboard": False} if own else {}
    for attempt in (1, 2):
        try:
            with _on_loopback() if own else nullcontext():
                ray.init(
                    address=address, log_to_driver=False, logging_level=logging.WARNING, **options
                )
            return
        except Exception as error:  # Ray raises bare ones, too
            ray.shutdown()
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            if own and attempt == 1:
                logger.warning("Ray does not start here yet (%s); trying once more.", reason)
                continue
            if not own and asks_for_token(error):
                raise ResourcesError(
                    f"the Ray cluster at {address!r} asks for its token; {_GIVE_TOKEN}."
                ) from error
            raise ResourcesError(
                f"Ray does not start here ({reason}); when the machine is less busy, run the same "
                f"again, or see Ray's logs in its temporary folder (/tmp/ray)."
                if own
                else f"no Ray answers at {address!r} ({reason}); check RAY_ADDRESS or address; "
                f"where Ray has logged InvalidAuthToken, {_GIVE_TOKEN}."
            ) from error


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Let Ray start as on macOS, where its services listen only on 127.0.0.1.

    ``ray.init`` does not accept this address: it replaces it by that of a network interface.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def asks_for_token(error: Exception) -> bool:
    """Tell whether a cluster refused a client because the token was missing or wrong."""
    refused = isinstance(error, ray.exceptions.AuthenticationError)
    return refused or "authentication" in str(error).lower() or "UNAUTHENTICATED" in str(error)


def _protect_token() -> None:
    """Make Ray's token in the home folder readable only by its owner."""
    token = Path.home() / ".ray" / "auth_token"
    if token.is_file():
        token.chmod(0o600)

"""The client of the dispatcher on a real Ray: in processes without PyTorch, and at its death."""

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import psutil
import pytest
import ray

from rayfold.errors import DispatcherLostError
from rayfold.groups.client import DispatcherClient
from rayfold.jobs import FoldJob

DEADLINE_SECONDS = 60.0

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture
def client() -> Iterator[DispatcherClient]:
    client = DispatcherClient.start(num_groups=1)
    yield client
    client.end()


def test_a_process_that_has_the_client_imports_neither_pytorch_nor_ray_train(
    client: DispatcherClient,
) -> None:
    @ray.remote(num_cpus=0)
    def announce(client: DispatcherClient) -> set[str]:
        client.announce(3, "node", os.getpid())
        return {"torch", "ray.train", "ray.tune"} & set(sys.modules)

    assert ray.get(announce.remote(client), timeout=DEADLINE_SECONDS) == set()
    (group,) = client.snapshot().groups
    assert group.group == 3


def test_ray_on_one_machine_listens_on_127_0_0_1_alone(client: DispatcherClient) -> None:
    """Its services, the agents that know no token, this driver and the dispatcher."""
    client.announce(0, "node", 1)
    listening = list(listening_sockets(psutil.Process()))
    assert {"gcs_server", "raylet"} <= {name for name, addresses in listening if addresses}
    for name, addresses in listening:
        assert all(map(is_loopback, addresses)), (name, addresses)


def is_loopback(address: str) -> bool:
    parsed = ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def listening_sockets(driver: psutil.Process) -> Iterator[tuple[str, set[str]]]:
    """Yield the addresses that each process below a driver, and it itself, listens on."""
    for process in (driver, *driver.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            yield (
                process.name(),
                {
                    connection.laddr.ip
                    for connection in process.net_connections("inet")
                    if connection.status == psutil.CONN_LISTEN
                },
            )


def test_the_death_of_the_dispatcher_is_one_error_in_all_that_wait_for_it(
    client: DispatcherClient,
) -> None:
    token = client.announce(0, "node", 1)
    assert client.acquire("digits", "0000", 1) == 1
    client.submit("digits", "0000", [FoldJob(trial="0000", config={}, fold=0, until_epoch=1)])
    assert client.exchange(0, token, None).job is not None
    with ThreadPoolExecutor() as threads:
        waiting: list[Future[Any]] = [
            threads.submit(client.wait, "digits", "0000"),
            threads.submit(client.acquire, "digits", "0001", 1),
            threads.submit(client.exchange, 0, token, None),
        ]
        while client.snapshot().num_waiting < 1:  # by then, all three wait
            pass
        os.kill(process_of_the_dispatcher().pid, signal.SIGKILL)
        for call in waiting:
            with pytest.raises(DispatcherLostError, match="has died; run the same command again"):
                call.result(DEADLINE_SECONDS)
    with pytest.raises(DispatcherLostError):
        client.snapshot()


def process_of_the_dispatcher() -> psutil.Process:
    (process,) = (
        process
        for process in psutil.Process().children(recursive=True)
        if process.cmdline() and process.cmdline()[0].startswith("ray::Dispatcher")
    )
    return process

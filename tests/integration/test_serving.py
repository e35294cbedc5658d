"""A bundle behind HTTP: Ray Serve with real requests, and MLflow's own server."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch

from rayfold.bundle import export_bundle, load_bundle, register_bundle
from rayfold.description import HoldoutSplit
from rayfold.ensemble import Ensemble, Input, Member, Origin, Signature
from rayfold.ensemble.combination import WeightedMean
from rayfold.ensemble.records import Contents
from rayfold.errors import TrackingError
from rayfold.models.mlp import MLP
from rayfold.tasks import Classification
from rayfold.tracking import tracking_uri

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 2, 2), dtype=np.uint8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trials of two small models each, for images of bytes and three classes."""
    arguments: dict[str, Any] = {
        "input_shapes": ((2, 2),),
        "num_outputs": 3,
        "hidden": 4,
        "depth": 1,
    }
    members = tuple(
        Member(
            study_id="a" * 32,
            trial=trial,
            weight=weight,
            score=0.5,
            out_of_fold_loss=0.25,
            config={"model.hidden": 4},
            model="rayfold.models.mlp:MLP",
            arguments=arguments,
            models=tuple(MLP(**arguments).eval() for _ in range(2)),
        )
        for trial, weight in (("0000", 0.75), ("0001", 0.25))
    )
    contents = Contents(
        signature=Signature(
            task=Classification(),
            inputs=(Input(name="images", shape=(2, 2), dtype="uint8"),),
            num_outputs=3,
            classes=("cat", "dog", "eel"),
        ),
        origin=Origin(
            studies={"a" * 32: "animals"},
            data_digest="d" * 64,
            fold_digest="f" * 64,
            labels="labels",
            test=HoldoutSplit(fraction=0.2),
        ),
        members=members,
        combination=WeightedMean(torch.tensor([0.75, 0.25])),
        out_of_fold_loss=0.125,
        single_best_loss=0.25,
        nested_loss=0.25,
        reason="it was asked for.",
        nonconformity=np.full((99, 1), 0.5),
    )
    folder = tmp_path_factory.mktemp("bundles") / "animals"
    return export_bundle(Ensemble(contents), folder, programs=("onnx",))


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


def post(url: str, body: bytes | dict[str, Any]) -> tuple[int, Any]:
    """Return the status and the answer of a request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def url(bundle: Path, ray_session: None) -> Iterator[str]:
    from rayfold.serving.server import running

    with running(bundle, port=free_port(), max_batch_size=8, batch_wait_seconds=0.05) as address:
        yield address


def test_concurrent_requests_get_their_own_rows(bundle: Path, url: str) -> None:
    """Forty at once, of one to three rows each: what is predicted together is told apart."""
    expected = load_bundle(bundle).predict_proba(IMAGES)
    ranges = [(i, min(i + 1 + i % 3, 40)) for i in range(40)]
    with ThreadPoolExecutor(16) as threads:
        answers = list(
            threads.map(lambda r: post(url, {"inputs": IMAGES[r[0] : r[1]].tolist()}), ranges)
        )
    for (start, end), (status, answer) in zip(ranges, answers, strict=True):
        assert status == 200
        assert np.array(answer["probabilities"]) == pytest.approx(expected[start:end], abs=1e-5)
        best = [("cat", "dog", "eel")[i] for i in expected[start:end].argmax(1)]
        assert answer["predictions"] == best


def test_malformed_requests_get_the_reason_and_the_others_their_answers(url: str) -> None:
    malformed = [
        (b"{", "the body is no JSON: "),
        (b"[" * 10**5, "the body is no JSON of numbers"),
        (b"", "the body is no JSON: "),
        (b"\xff\xfe", "the body is no JSON: "),
        (b'{"inputs": [' + b"1" * 5000 + b"]}", "the body is no JSON of numbers"),
        ({}, "expected an object with 'inputs' alone"),
        ({"inputs": []}, "images: expected at least one row, got none"),
        ({"inputs": [[1, 2]]}, r"images: expected shape (rows, 2, 2), got (1, 2)"),
        ({"inputs": [[[1, 2], [3]]]}, "images: rows differ in their shape"),
        ({"inputs": [[["a", "b"], ["c", "d"]]]}, "images: expected numbers"),
        ({"inputs": [[[0.5, 1], [2, 3]]]}, "images: expected whole numbers from 0 to 255"),
        ({"inputs": [[[0, 256], [2, 3]]]}, "images: expected whole numbers from 0 to 255"),
        (b'{"inputs": [[[NaN, 1], [2, 3]]]}', "images: expected whole numbers from 0 to 255"),
        ({"inputs": {"sounds": []}}, "inputs: expected images, got 'sounds'"),
        ({"inputs": IMAGES[:1].tolist() * 5000}, "inputs: expected 1 to 4096 rows, got 5000"),
        (b" " * (2**25 + 1), "the body has more than 33554432 bytes"),
    ]
    good = {"inputs": {"images": IMAGES[:2].tolist()}}
    with ThreadPoolExecutor(4) as threads:
        answers = threads.map(lambda body: post(url, body), [b for b, _ in malformed])
        among = threads.map(lambda _: post(url, good), range(4))
        for (_, reason), (status, answer) in zip(malformed, answers, strict=True):
            assert (status, list(answer)) == (400, ["error"])
            assert reason in answer["error"]
        assert [status for status, _ in among] == [200] * 4
    assert post(url, good)[0] == 200


def test_a_get_tells_what_it_takes(url: str) -> None:
    with urllib.request.urlopen(url, timeout=60) as answer:
        told = json.load(answer)
    assert told["inputs"] == [{"name": "images", "dtype": "uint8", "shape": ["rows", 2, 2]}]
    assert told["classes"] == ["cat", "dog", "eel"]


def test_other_paths_are_not_there(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{url}docs", timeout=60)
    assert refused.value.code == 404
    assert json.loads(refused.value.read())["error"].startswith("there is nothing at /docs")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_not_answered(url: str, method: str) -> None:
    request = urllib.request.Request(url, method=method)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    assert refused.value.code == 405
    assert refused.value.headers["Allow"] == "GET, HEAD, POST"
    assert json.loads(refused.value.read())["error"].startswith(f"{method} is not answered; POST")


@pytest.mark.slow
def test_the_command_serves_on_this_machine_alone_until_it_is_ended(bundle: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "rayfold", "serve", str(bundle), "--port", str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        timer = threading.Timer(500, server.kill)
        timer.start()
        assert server.stdout is not None
        try:
            lines = iter(server.stdout)
            assert any(f"http://127.0.0.1:{port}/" in line for line in lines)
            status, answer = post(f"http://127.0.0.1:{port}/", {"inputs": IMAGES[:17].tolist()})
            assert status == 200
            assert len(answer["predictions"]) == 17
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((other_address(), port), timeout=5).close()
        finally:
            server.send_signal(signal.SIGTERM)
            rest = server.stdout.read()
            timer.cancel()
    assert (server.returncode, rest) == (0, "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def other_address() -> str:
    """An address of this machine that nobody who binds 127.0.0.1 alone answers at."""
    return "127.0.0.2"


def test_a_registered_bundle_is_the_champion_and_a_newer_one_takes_over(
    bundle: Path, storage: Path
) -> None:
    assert register_bundle(bundle, "animals", storage=storage) == 1
    assert register_bundle(bundle, "animals", storage=storage) == 2
    client = mlflow.MlflowClient(tracking_uri(storage), tracking_uri(storage))
    version = client.get_model_version_by_alias("animals", "champion")
    assert int(version.version) == 2
    assert version.tags["rayfold.studies"] == "a" * 32
    assert version.run_id is not None
    assert client.get_run(version.run_id).data.metrics == {"out_of_fold_loss": 0.125}
    with pytest.raises(TrackingError, match="alias 'not an alias' cannot be registered in MLflow"):
        register_bundle(bundle, "animals", alias="not an alias", storage=storage)


@pytest.mark.slow
def test_mlflow_serves_the_champion(bundle: Path, storage: Path) -> None:
    register_bundle(bundle, "animals", storage=storage)
    shutil.rmtree(storage / "nothing", ignore_errors=True)
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve"),
        *("--model-uri", "models:/animals@champion", "--env-manager", "local"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # uvicorn
        "MLFLOW_TRACKING_URI": tracking_uri(storage),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_it_answers(f"{url}/ping", server)
        expected = load_bundle(bundle).predict_proba(IMAGES[:3])
        status, answer = post(f"{url}/invocations", {"inputs": IMAGES[:3].tolist()})
        assert status == 200
        assert answer["predictions"] == [("cat", "dog", "eel")[i] for i in expected.argmax(1)]
        status, answer = post(
            f"{url}/invocations",
            {"inputs": IMAGES[:3].tolist(), "params": {"probabilities": True}},
        )
        assert np.array(answer["predictions"]) == pytest.approx(expected, abs=1e-5)
        status, answer = post(f"{url}/invocations", {"inputs": [[1, 2]]})
        assert status == 400
        assert "Shape of input (1, 2) does not match expected shape" in answer["message"]
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def wait_until_it_answers(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 500
    while True:
        assert server.poll() is None, "the server has ended"
        try:
            urllib.request.urlopen(url, timeout=10).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.5)

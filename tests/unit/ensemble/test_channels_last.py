"""An ensemble of models that get their channels first, of rows that hold them last."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from rayfold.ensemble import Ensemble, Input, Member, Signature, load_bundle
from rayfold.ensemble.files import predict_files
from rayfold.errors import BundleError, DataError
from rayfold.library import resolve_model
from rayfold.model_construction import build_model
from rayfold.serving.messages import description, parse_request

ARGUMENTS: dict[str, Any] = {"input_shape": (3, 4, 5), "num_outputs": 2, "channels": 4}
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), dtype=np.uint8)


def signature(shape: tuple[int, ...], **channels: Any) -> Signature:
    return Signature(
        task="classification",
        inputs=(Input(name="image", shape=shape, dtype="uint8", **channels),),
        num_outputs=2,
        classes=("cat", "dog"),
    )


@pytest.fixture
def member() -> Member:
    torch.manual_seed(0)
    models = tuple(build_model(resolve_model("cnn"), ARGUMENTS).eval() for _ in range(2))
    return Member(
        study_id="a" * 32,
        trial="0000",
        weight=1.0,
        score=0.5,
        out_of_fold_loss=0.25,
        config={"model.channels": 4},
        model="rayfold.models.cnn:CNN",
        arguments=ARGUMENTS,
        models=models,
    )


@pytest.fixture
def last(member: Member, make: Callable[..., Ensemble]) -> Ensemble:
    return make(signature((4, 5, 3), channels="last"), member)


@pytest.fixture
def expected(member: Member, make: Callable[..., Ensemble]) -> Any:
    """Of the same rows stored with their channels first."""
    first = make(signature((3, 4, 5)), member)
    return first.predict_proba(np.ascontiguousarray(np.moveaxis(IMAGES, -1, 1)))


def test_rows_are_given_as_they_are_stored(last: Ensemble, expected: Any) -> None:
    assert np.array_equal(last.predict_proba(IMAGES), expected)
    with pytest.raises(
        DataError,
        match=r"image: expected shape \(rows, 4, 5, 3\), channels last, got \(7, ",
    ):
        last.predict_proba(np.moveaxis(IMAGES, -1, 1))


def test_a_bundle_its_program_and_the_server_take_them_so_too(
    last: Ensemble, expected: Any, tmp_path: Path
) -> None:
    folder = last.export(tmp_path / "bundle")
    assert "the channels of image are its last axis" in (folder / "README.md").read_text()
    by_weights = load_bundle(folder)
    assert by_weights.signature == last.signature
    assert np.array_equal(by_weights.predict_proba(IMAGES), expected)
    by_program = load_bundle(folder, form="onnx")
    assert by_program.predict_proba(IMAGES) == pytest.approx(expected, abs=1e-5)

    with h5py.File(tmp_path / "new.h5", "w") as file:
        file["image"] = IMAGES
    predicted = predict_files(by_program, tmp_path / "new.h5")
    assert predicted.probabilities == pytest.approx(expected, abs=1e-5)

    assert description(by_program)["inputs"] == [
        {"name": "image", "dtype": "uint8", "shape": ["rows", 4, 5, 3], "channels": "last"}
    ]
    body = json.dumps({"inputs": IMAGES.tolist()}).encode()
    [rows] = parse_request(body, by_program.signature)
    assert np.array_equal(rows, IMAGES)


def test_a_manifest_from_before_says_nothing_and_means_first(
    member: Member, make: Callable[..., Ensemble], expected: Any, tmp_path: Path
) -> None:
    folder = make(signature((3, 4, 5)), member).export(tmp_path / "bundle", programs=())
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    assert manifest["inputs"][0].pop("channels") == "first"
    file.write_text(json.dumps(manifest))
    loaded = load_bundle(folder)
    assert loaded.signature.inputs[0].channels == "first"
    seen_from_aside = np.moveaxis(IMAGES, -1, 1)  # models get plain memory all the same
    assert np.array_equal(loaded.predict_proba(seen_from_aside), expected)

    manifest["inputs"][0] |= {"channels": "last", "shape": [60]}
    file.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"image has rows of shape \[60\], which cannot have"):
        load_bundle(folder)

import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from rayfold.bundle import export_bundle, load_bundle
from rayfold.bundle.programs import (
    check_onnx,
    check_torch,
    example_rows,
    load_onnx,
    load_torch,
    write_programs,
)
from rayfold.ensemble import Ensemble, Input, Signature
from rayfold.ensemble.combination import WeightedMean
from rayfold.ensemble.predictor import EnsembleModule, predict_rows
from rayfold.errors import BundleError
from rayfold.tasks import Classification

TWO_INPUTS = Signature(
    task=Classification(),
    inputs=(
        Input(name="images/small", shape=(2, 2), dtype="uint8"),
        Input(name="age", shape=(), dtype="int64"),
    ),
    num_outputs=3,
    classes=("a", "b", "c"),
)


class Net(nn.Module):
    """Two inputs; asks for its rows by ``len``, which tracing by running takes for a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, images: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.cat([images.reshape(len(images), 4), age[:, None]], 1))


class Choosy(Net):
    """Decides on the values that it gets."""

    def forward(self, images: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        outputs = super().forward(images, age)
        return outputs if outputs.sum() > 0 else -outputs


def ensemble_of(*models: nn.Module) -> EnsembleModule:
    weights = torch.full((len(models),), 1 / len(models))
    return EnsembleModule([[m.eval()] for m in models], WeightedMean(weights), TWO_INPUTS)


def test_programs_take_any_number_of_rows_of_several_inputs(tmp_path: Path) -> None:
    module = ensemble_of(Net(), Net())
    write_programs(
        module, TWO_INPUTS, tmp_path, programs=("torch", "onnx"), members=("member 0", "member 1")
    )
    programs = (load_torch(tmp_path / "ensemble.pt2"), load_onnx(tmp_path / "ensemble.onnx"))
    for num_rows in (1, 2, 17):
        features = example_rows(TWO_INPUTS, num_rows)
        expected = predict_rows(module, features)
        for predict in programs:
            predictions = predict(features)
            assert predictions.dtype == np.float32
            assert predictions == pytest.approx(expected, abs=1e-6)
    inputs = onnx.load(tmp_path / "ensemble.onnx").graph.input
    assert [entry.name for entry in inputs] == ["images/small", "age"]
    assert inputs[0].type.tensor_type.shape.dim[0].dim_param == "rows"


def test_a_model_that_decides_on_values_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        BundleError,
        match=r"member 0007 \(Choosy\) cannot be exported to torch\.export: .*--no-programs",
    ) as raised:
        write_programs(
            ensemble_of(Net(), Choosy()),
            TWO_INPUTS,
            tmp_path,
            programs=("torch",),
            members=("member 0003", "member 0007"),
        )
    assert "\n" not in str(raised.value)


def test_the_onnx_program_of_a_bundle_needs_no_class(bundle: Path, regression: Ensemble) -> None:
    loaded = load_bundle(bundle, form="onnx")
    rows = np.random.default_rng(0).standard_normal((1030, 2))
    assert loaded.predict(rows) == pytest.approx(regression.predict(rows), abs=1e-5)
    assert [(m.trial, m.weight) for m in loaded.members] == [("0003", 0.75), ("0001", 0.25)]
    with pytest.raises(BundleError, match="was loaded as a program; load its weights to export"):
        export_bundle(loaded, bundle.parent / "again")


def test_a_program_of_more_than_2_gb_has_its_weights_in_a_file_beside_it(
    bundle: Path, regression: Ensemble
) -> None:
    """As PyTorch writes it then; here of the bundle's small program."""
    program = onnx.load(bundle / "ensemble.onnx")
    for tensor in program.graph.initializer:
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
            onnx.external_data_helper.set_external_data(tensor, "ensemble.onnx.data")
    onnx.save_model(program, str(bundle / "ensemble.onnx"))
    manifest = json.loads((bundle / "manifest.json").read_text())
    for name in ("ensemble.onnx", "ensemble.onnx.data"):
        manifest["files"][name] = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    features = np.array([[2.0, 3.0]])
    predicted = load_bundle(bundle, form="onnx").predict(features)
    assert predicted == pytest.approx(regression.predict(features))
    (bundle / "ensemble.onnx.data").unlink()
    with pytest.raises(BundleError, match=r"lacks ensemble\.onnx\.data; copy the bundle again"):
        load_bundle(bundle, form="onnx")


def test_the_program_of_torch_holds_no_pickle(bundle: Path) -> None:
    with zipfile.ZipFile(bundle / "ensemble.pt2") as archive:
        starts = [archive.read(name)[:2] for name in archive.namelist()]
    assert b"\x80\x02" not in starts  # a pickle
    assert b"PK" not in starts  # what torch.save writes


def test_a_program_with_a_pickle_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[type, tuple[object, ...]]:
            return (RuntimeError, ())

    stream = io.BytesIO()
    pickle.dump(Evil(), stream)
    with zipfile.ZipFile(tmp_path / "evil.pt2", "w") as archive:
        archive.writestr("evil/data/sample_inputs/model.pt", stream.getvalue())
    with pytest.raises(BundleError, match=r"holds a pickle \(data/sample_inputs/model\.pt\)"):
        load_torch(tmp_path / "evil.pt2")
    with zipfile.ZipFile(tmp_path / "odd.pt2", "w") as archive:
        archive.writestr(
            "odd/data/weights/model_weights_config.json",
            '{"config": {"w": {"path_name": "weight_0", "use_pickle": true}}}',
        )
    with pytest.raises(BundleError, match=r"holds a pickle \(data/weights/model_weights_config"):
        check_torch(tmp_path / "odd.pt2")
    (tmp_path / "text.pt2").write_text("no archive")
    with pytest.raises(BundleError, match=r"is no program of torch\.export: File is not a zip"):
        check_torch(tmp_path / "text.pt2")


def test_an_onnx_program_that_reads_other_files_is_refused(tmp_path: Path) -> None:
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location="EXTERNAL")
    tensor.external_data.add(key="location", value="../secret")
    graph = onnx.helper.make_graph([], "g", [], [], [tensor])
    (tmp_path / "evil.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(BundleError, match=r"evil\.onnx reads '\.\./secret', which is no file of"):
        check_onnx(tmp_path / "evil.onnx", {"evil.onnx"})
    (tmp_path / "text.onnx").write_text("no protobuf")
    with pytest.raises(BundleError, match=r"text\.onnx is no ONNX program"):
        check_onnx(tmp_path / "text.onnx", set())


def test_unknown_programs_are_told(regression: Ensemble, tmp_path: Path) -> None:
    with pytest.raises(
        BundleError, match=r"programs must be some of torch, onnx, got 'onxx' \(di"
    ):
        export_bundle(regression, tmp_path / "bundle", programs=("onxx",))

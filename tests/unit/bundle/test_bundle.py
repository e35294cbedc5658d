import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from safetensors.torch import load_file, save_file
from torch import nn

from rayfold.bundle import export_bundle, load_bundle
from rayfold.ensemble import Ensemble
from rayfold.errors import BundleError

FEATURES = np.array([[2.0, 3.0], [0.0, 1.0]])
WEIGHTS = "members/0/fold_0.safetensors"


@pytest.fixture
def load(bundle: Path, shift_class: type[nn.Module]) -> Callable[..., Ensemble]:
    def load(folder: Path = bundle) -> Ensemble:
        return load_bundle(folder, models={"net:Shift": shift_class})

    return load


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = bundle / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


def replace_weights(bundle: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Change weights and the manifest's digest with them."""
    save_file(tensors, bundle / WEIGHTS)
    digest = hashlib.sha256((bundle / WEIGHTS).read_bytes()).hexdigest()
    edit(bundle, lambda manifest: manifest["files"].update({WEIGHTS: digest}))


def test_a_loaded_bundle_predicts_what_was_exported(
    regression: Ensemble, load: Callable[..., Ensemble]
) -> None:
    loaded = load()
    assert loaded.predict(FEATURES).tolist() == regression.predict(FEATURES).tolist()
    assert loaded.members == regression.members
    assert loaded.signature == regression.signature
    assert loaded.origin == regression.origin
    assert repr(loaded) == repr(regression)


def test_classes_keep_their_types(
    classification: Ensemble, tmp_path: Path, shift_class: type[nn.Module]
) -> None:
    export_bundle(classification, tmp_path / "bundle", programs=())
    loaded = load_bundle(tmp_path / "bundle", models={"net:Shift": shift_class})
    assert loaded.signature.classes == ("cat", "dog")
    features = np.zeros((1, 2), np.uint8)
    assert loaded.predict(features).tolist() == ["cat"]
    assert (loaded.predict_proba(features) == classification.predict_proba(features)).all()


def test_a_loaded_bundle_can_be_exported_again(
    load: Callable[..., Ensemble], tmp_path: Path, bundle: Path
) -> None:
    again = export_bundle(load(), tmp_path / "again", programs=())
    first, second = (json.loads((f / "manifest.json").read_text()) for f in (bundle, again))
    weights = [name for name in first["files"] if name.endswith(".safetensors")]
    assert len(weights) == 5
    assert [second["files"][name] for name in weights] == [first["files"][n] for n in weights]
    assert second["licence"] == first["licence"] == "CC-BY-4.0"


def test_a_bundle_is_a_manifest_and_what_it_names_and_nothing_else(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    files = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    assert files == {"manifest.json", *manifest["files"]}
    assert files >= {"README.md", "ensemble.pt2", "ensemble.onnx", "combination.safetensors"}
    assert (
        manifest["files"][WEIGHTS] == hashlib.sha256((bundle / WEIGHTS).read_bytes()).hexdigest()
    )
    assert (manifest["format"], manifest["version"]) == ("rayfold-bundle", 3)
    assert manifest["members"][0]["model"] == {
        "reference": "net:Shift",
        "arguments": {"scale": 1.0, "input_shape": [2], "num_outputs": 1},
    }
    assert manifest["members"][0]["run_id"] == "b" * 32
    assert (manifest["studies"], manifest["runs"]) == (
        {"a" * 32: "digits"},
        {"a" * 32: "c" * 32},
    )
    assert manifest["licence"] == "CC-BY-4.0"
    assert set(manifest["versions"]) >= {"python", "rayfold", "torch", "onnx", "onnxruntime"}
    assert manifest["test"] == {"fraction": 0.2, "random_seed": 0, "row_groups": None}
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_an_existing_folder_is_left_alone(regression: Ensemble, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(BundleError, match="mine exists already; export to a new folder"):
        export_bundle(regression, tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(regression: Ensemble, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match=r"bundle cannot be written \(Not a directory\); export"):
        export_bundle(regression, tmp_path / "file" / "bundle")


def test_an_export_that_fails_leaves_nothing(regression: Ensemble, tmp_path: Path) -> None:
    class Odd(nn.Module):
        """It predicts nothing."""

    regression.members[1].__dict__["models"] = (Odd(),)
    with pytest.raises(BundleError, match=r"0001 \(Odd\) cannot be exported to torch.export"):
        export_bundle(regression, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_models_that_share_tensors_survive(tmp_path: Path, regression: Ensemble) -> None:
    class Tied(nn.Module):
        def __init__(self, **arguments: Any):
            super().__init__()
            self.first = nn.Linear(2, 1, bias=False)
            self.second = self.first

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return self.first(features) + self.second(features)

    model = Tied()
    model.first.weight.data = torch.tensor([[1.0, 2.0]])
    regression.members[0].__dict__["models"] = (model, model)
    regression.members[1].__dict__["models"] = (model,)
    export_bundle(regression, tmp_path / "bundle", programs=())
    loaded = load_bundle(tmp_path / "bundle", models={"net:Shift": Tied})
    assert loaded.predict(FEATURES).tolist() == [16.0, 4.0]


def test_loading_leaves_the_random_numbers_alone(load: Callable[..., Ensemble]) -> None:
    state = torch.get_rng_state()
    load()
    assert torch.equal(torch.get_rng_state(), state)


def refer(manifest: dict[str, Any], reference: str) -> None:
    """Give the second member's model another name."""
    manifest["members"][1]["model"]["reference"] = reference
    manifest["sources"][reference] = manifest["sources"]["net:Shift"]


def test_a_model_from_elsewhere_is_not_imported(bundle: Path) -> None:
    match = (
        r"brings the code of 'net:Shift', which runs when its weights are loaded; pass "
        r"allow_code=True \(--allow-code\) if you trust it, or models=\{'net:Shift': YourClass\}, "
        "or form='onnx', which needs no code"
    )
    with pytest.raises(BundleError, match=match):
        load_bundle(bundle)
    assert load_bundle(bundle, form="onnx").predict(FEATURES).shape == (2,)


@pytest.mark.parametrize(
    "reference",
    [
        "os:system",
        "rayfold.models:os",
        "rayfold.modelsx.cnn:CNN",
        "rayfold.models..os:path",
        "rayfold.models.cnn:nn.Linear",
        "rayfold.models.cnn:CNN\n",
        "./rayfold.models.cnn:CNN",
        "cnn",
    ],
)
def test_only_classes_of_the_own_models_are_imported_unasked(bundle: Path, reference: str) -> None:
    edit(bundle, lambda manifest: refer(manifest, reference))
    with pytest.raises(BundleError, match="brings the code of"):
        load_bundle(bundle, models={"net:Shift": nn.Identity})


def test_what_comes_with_a_module_of_ours_is_no_model(
    bundle: Path, shift_class: type[nn.Module]
) -> None:
    edit(bundle, lambda manifest: refer(manifest, "rayfold.models.cnn:math"))
    with pytest.raises(BundleError, match="the bundle's model cannot be imported: "):
        load_bundle(bundle, models={"net:Shift": shift_class})


def test_its_own_copy_of_the_code_runs_on_request_and_no_file_of_that_name(
    bundle: Path, tmp_path: Path
) -> None:
    """In a fresh process, in a folder where ``net`` is something else."""
    (tmp_path / "net.py").write_text("raise RuntimeError('the file of today')\n")
    code = (
        "import sys, numpy as np, rayfold as rf\n"
        "loaded = rf.load_bundle(sys.argv[1], allow_code=True)\n"
        "print(loaded.predict(np.array([[2.0, 3.0]])).tolist())\n"
        "assert 'mlflow' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.stdout, done.stderr) == ("[10.25]\n", "")


def test_code_that_is_not_what_the_manifest_says_does_not_run(bundle: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        part = manifest["sources"]["net:Shift"]
        part["digest"] = "0" * 64

    edit(bundle, change)
    with pytest.raises(BundleError, match="the code of 'net:Shift' is not what the manifest says"):
        load_bundle(bundle, allow_code=True)


def test_a_class_of_a_notebook_is_passed_or_its_program_predicts(
    tmp_path: Path, regression: Ensemble
) -> None:
    class Mine(nn.Module):
        def __init__(self, **arguments: Any):
            super().__init__()
            self.shift = nn.Parameter(torch.ones(1))

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features.sum(1, keepdim=True) + self.shift

    for member in regression.members:
        member.__dict__["models"] = (Mine(),)
    folder = export_bundle(regression, tmp_path / "bundle", programs=())
    with pytest.raises(BundleError, match="'net:Shift' is a class of a notebook, which no file"):
        load_bundle(folder, allow_code=True)
    loaded = load_bundle(folder, models={"net:Shift": Mine})
    assert loaded.predict(FEATURES).tolist() == regression.predict(FEATURES).tolist()


def break_digest(bundle: Path) -> None:
    data = bytearray((bundle / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (bundle / WEIGHTS).write_bytes(data)


def link(bundle: Path) -> None:
    shutil.move(bundle / WEIGHTS, bundle.parent / "elsewhere")
    (bundle / WEIGHTS).symlink_to(bundle.parent / "elsewhere")


def change(**values: Any) -> Callable[[Path], None]:
    return lambda bundle: edit(bundle, lambda manifest: manifest.update(values))


def change_member(**values: Any) -> Callable[[Path], None]:
    return lambda bundle: edit(bundle, lambda manifest: manifest["members"][0].update(values))


def name_file(name: str) -> Callable[[Path], None]:
    return lambda bundle: edit(bundle, lambda m: m["files"].update({name: "0" * 64}))


def repeat_version(bundle: Path) -> None:
    manifest = bundle / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"version": 3', '"version": 3, "version": 3', 1))


def replace_file(name: str, content: bytes) -> Callable[[Path], None]:
    """Change a file and its digest with it."""

    def replace(bundle: Path) -> None:
        (bundle / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        edit(bundle, lambda manifest: manifest["files"].update({name: digest}))

    return replace


def declared(*shape: int, num_bytes: int) -> bytes:
    """A safetensors file of four bytes that declares a larger tensor."""
    header = {"shift": {"dtype": "F32", "shape": shape, "data_offsets": [0, num_bytes]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(4)


def of_nan() -> bytes:
    return save({"scores": np.full((99, 1), np.nan)})


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (break_digest, r"fold_0.safetensors was changed: its SHA-256 is not the manifest's"),
        (lambda b: (b / WEIGHTS).unlink(), rf"lacks {WEIGHTS}; copy the bundle again"),
        (lambda b: (b / "x.pkl").touch(), r"holds x.pkl, which its manifest does not name; copy"),
        (lambda b: (b / "more").mkdir(), r"holds the folder more, which its manifest does not"),
        (link, r"fold_0.safetensors is a link or a device"),
        (lambda b: (b / "more").symlink_to("/"), r"more is a link or a device"),
        (lambda b: os.mkfifo(b / "pipe"), r"pipe is a link or a device"),
        (name_file("../secret"), r"names '../secret', outside the bundle"),
        (name_file("members/../../x"), r"names 'members/../../x', outside the bundle"),
        (name_file("/etc/passwd"), r"names '/etc/passwd', outside the bundle"),
        (name_file("members\\..\\x"), r"outside the bundle"),
        (lambda b: (b / "manifest.json").unlink(), "holds no manifest.json; it is no bundle"),
        (lambda b: shutil.rmtree(b), "is no folder; name the folder of an exported bundle"),
        (lambda b: (b / "manifest.json").write_text("{"), "manifest.json is no JSON: "),
        (lambda b: (b / "manifest.json").write_text("[" * 10**5), "manifest.json is no JSON: "),
        (lambda b: (b / "manifest.json").write_text("[]"), "expected format 'rayfold-bundle', go"),
        (change(format="zip"), "expected format 'rayfold-bundle', got 'zip'"),
        (change(version=4), "expected version 3, got 4; load it with the Rayfold that wrote it"),
        (change(extra=1), "manifest.json: extra: Extra inputs are not permitted"),
        (change(members=[]), "manifest.json: members: "),
        (change(task="ranking"), "task is 'ranking', expected one of classification, regression"),
        (repeat_version, "'version' is there twice"),
        (change(classes=["a"]), "classes do not go with task regression"),
        (change_member(weight=-0.75), r"members\.0\.weight: "),
        (change_member(weight=float("nan")), r"members\.0\.weight: "),
        (
            change_member(weight=0.5),
            r"the members' weights are \[0.5, 0.25\], those of combination",
        ),
        (
            change(inputs=[{"name": "x", "shape": [2**40], "dtype": "uint8"}]),
            "more than 2147483648",
        ),
        (change(num_outputs=2**40), "manifest.json: num_outputs: "),
        (
            change(inputs=[{"name": "x", "shape": [2], "dtype": "object"}]),
            r"manifest.json: inputs\.0\.dtype: ",
        ),
        (replace_file("nonconformity.safetensors", of_nan()), "does not fit the manifest; export"),
        (change_member(folds=[{"file": WEIGHTS}]), "members and files disagree about"),
        (change_member(folds=[{"file": "../x"}] * 2), "members and files disagree about"),
        (replace_file(WEIGHTS, declared(2**40, num_bytes=4)), "no readable safetensors file"),
        (replace_file(WEIGHTS, declared(2**40, num_bytes=2**42)), "no readable safetensors file"),
        (replace_file(WEIGHTS, declared(2**62, 2**62, num_bytes=4)), "no readable safetensors"),
        (replace_file(WEIGHTS, (2**60).to_bytes(8, "little")), "no readable safetensors file"),
        (
            lambda b: replace_weights(b, {"other": torch.zeros(1)}),
            "member 0003: fold_0.safetensors does not fit Shift: it lacks 'shift'",
        ),
        (
            lambda b: replace_weights(b, {"shift": torch.zeros(1), "more": torch.zeros(1)}),
            "it has 'more', which the model has not",
        ),
        (
            lambda b: replace_weights(b, {"shift": torch.zeros(3)}),
            r"'shift' has shape \(3,\), expected \(1,\)",
        ),
    ],
)
def test_a_bundle_that_is_not_as_exported_is_refused_in_one_line(
    bundle: Path,
    load: Callable[..., Ensemble],
    damage: Callable[[Path], object],
    match: str,
) -> None:
    damage(bundle)
    with pytest.raises(BundleError, match=match) as raised:
        load()
    assert "\n" not in str(raised.value)


def test_weights_that_are_no_safetensors_are_refused(
    bundle: Path, load: Callable[..., Ensemble]
) -> None:
    (bundle / WEIGHTS).write_bytes(b"\x80\x04 a pickle, say")
    digest = hashlib.sha256((bundle / WEIGHTS).read_bytes()).hexdigest()
    edit(bundle, lambda manifest: manifest["files"].update({WEIGHTS: digest}))
    with pytest.raises(BundleError, match=r"fold_0\.safetensors is no readable safetensors file"):
        load()


def test_arguments_that_the_model_refuses_are_told(
    bundle: Path, load: Callable[..., Ensemble]
) -> None:
    edit(bundle, lambda m: m["members"][0]["model"]["arguments"].update(depth=3))
    with pytest.raises(BundleError, match=r"member 0003: Shift\(.*depth=3\) cannot be built"):
        load()


def test_weights_lie_in_the_bundle_bit_by_bit(bundle: Path) -> None:
    assert load_file(bundle / WEIGHTS)["shift"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"hidden": 2**40}, r"build a model of \d{13,} numbers, but fold_0.safetensors holds 1;"),
        ({"depth": 10**9}, "build a model of over 8 tensors, but fold_0.safetensors holds 1;"),
        ({"input_shapes": [[2**50]]}, "numbers, but fold_0.safetensors holds 1; export"),
    ],
)
def test_a_manifest_that_declares_a_huge_model_uses_no_memory(
    bundle: Path, load: Callable[..., Ensemble], arguments: dict[str, Any], match: str
) -> None:
    small = {"input_shapes": [[2]], "num_outputs": 1, "hidden": 1, "depth": 1}
    edit(
        bundle,
        lambda m: m["members"][0].update(
            model={"reference": "rayfold.models.mlp:MLP", "arguments": small | arguments}
        ),
    )
    with pytest.raises(BundleError, match=match):
        load()


@pytest.fixture
def installed(regression: Ensemble, tmp_path: Path) -> Path:
    """A bundle of a model of an installed package: a row's first feature + 1."""
    model = nn.Linear(2, 1)
    model.load_state_dict({"weight": torch.tensor([[1.0, 0.0]]), "bias": torch.ones(1)})
    for member in regression.members:
        member.__dict__.update(
            models=(model.eval(),),
            model="torch.nn:Linear",
            arguments={"in_features": 2, "out_features": 1},
            config={},
        )
    return export_bundle(regression, tmp_path / "bundle", programs=())


def test_a_model_of_an_installed_package_keeps_its_reference_and_version(
    installed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    part = json.loads((installed / "manifest.json").read_text())["sources"]["torch.nn:Linear"]
    assert (part["kind"], part["digest"], part["files"]) == ("installed", "", {})
    assert (part["module"], part["name"]) == ("torch.nn.modules.linear", "Linear")
    assert part["packages"] == {"torch": version("torch")}
    assert not list(installed.rglob("*.py"))
    with pytest.raises(BundleError, match=r"imports 'torch\.nn:Linear', which runs when its w"):
        load_bundle(installed)
    loaded = load_bundle(installed, allow_code=True)
    assert loaded.predict(FEATURES).tolist() == [3.0, 1.0]
    assert loaded.members[0].model == "torch.nn:Linear"
    assert caplog.messages == []


def test_another_version_of_a_models_package_is_told(
    installed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    packages = {"torch": "1.13.0", "nowhere-to-be-found": "2.0"}
    edit(
        installed,
        lambda manifest: manifest["sources"]["torch.nn:Linear"].update(packages=packages),
    )
    assert load_bundle(installed, allow_code=True).predict(FEATURES).tolist() == [3.0, 1.0]
    assert caplog.messages == [
        "torch.nn:Linear is imported from other versions than the bundle was exported with: "
        f"torch 1.13.0 -> {version('torch')}, nowhere-to-be-found 2.0 -> not installed."
    ]


def test_a_model_of_a_package_that_is_not_installed_is_told(installed: Path) -> None:
    edit(
        installed,
        lambda manifest: manifest["sources"]["torch.nn:Linear"].update(module="nowhere.nets"),
    )
    with pytest.raises(BundleError, match=r"cannot be imported: .*No module named 'nowhere'"):
        load_bundle(installed, allow_code=True)

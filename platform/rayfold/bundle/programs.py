"""The whole ensemble as a program of PyTorch or ONNX, which runs without the models' classes.

A program takes the inputs of ``EnsembleModule``, with 1 or more rows. It returns probabilities or
values as float32, shape ``(rows, outputs)``.
"""

import json
import logging
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from rayfold.ensemble.estimator import Predict
from rayfold.ensemble.predictor import EnsembleModule, as_trained
from rayfold.ensemble.records import Signature
from rayfold.errors import BundleError
from rayfold.training.weights_file import tensors_of

Program = Literal["torch", "onnx"]

PROGRAMS: Final[tuple[Program, ...]] = ("torch", "onnx")
FILES: Final[dict[Program, str]] = {"torch": "ensemble.pt2", "onnx": "ensemble.onnx"}

OUTPUT: Final = "predictions"

_EXTERNAL_DATA = FILES["onnx"] + ".data"
_LARGEST_PROTOBUF = 2**31 - 2**24
_EXAMPLE_ROWS = 3  # neither 0 nor 1, which torch.export would take for a constant


def example_rows(
    signature: Signature, num_rows: int, *, random_seed: int = 0
) -> tuple[NDArray[np.generic], ...]:
    """Return random rows for an ensemble; floats are normally distributed.

    Bytes are 0 to 255. Other integers are 0 and 1, since they may be indices.
    """
    random = np.random.default_rng(random_seed)

    def column(dtype: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
        if dtype == "uint8":
            return random.integers(0, 256, shape, dtype=np.uint8)
        if np.dtype(dtype).kind == "f":
            return random.standard_normal(shape, dtype=np.float32)
        return random.integers(0, 2, shape).astype(np.float32)

    return tuple(column(entry.dtype, (num_rows, *entry.shape)) for entry in signature.inputs)


def write_programs(
    module: EnsembleModule,
    signature: Signature,
    folder: Path,
    *,
    programs: Sequence[Program],
    members: Sequence[str],
) -> None:
    """Export an ensemble as programs.

    Args:
        module: The ensemble.
        signature: Inputs and outputs.
        folder: Folder for the files.
        programs: The programs to write.
        members: Name of each member for errors.

    Raises:
        BundleError: If a model's ``forward`` cannot be exported; it names the member.
    """
    if not programs:
        return
    with _quiet():
        exported = _export(module, signature, members)
        if "torch" in programs:
            torch.export.save(exported, folder / FILES["torch"])
            check_torch(folder / FILES["torch"])
        if "onnx" in programs:
            _write_onnx(module, exported, signature, folder / FILES["onnx"], members)


def load_torch(file: Path) -> Predict:
    """Load a program of ``torch.export`` that this process trusts.

    The file holds no pickle (see ``check_torch``), but PyTorch evaluates texts of it as
    expressions. Load only files from people whom you trust.
    """
    check_torch(file)
    program = torch.export.load(file).module()

    def predict(features: Sequence[NDArray[np.generic]]) -> NDArray[np.floating]:
        with torch.no_grad():
            outputs: torch.Tensor = program(*(torch.tensor(array) for array in features))
        return np.asarray(outputs)

    return predict


def load_onnx(file: Path) -> Predict:
    """Load a program of ONNX for this machine's CPU."""
    import onnxruntime  # makes a file in the temporary folder: for those who need it

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def predict(features: Sequence[NDArray[np.generic]]) -> NDArray[np.floating]:
        [outputs] = session.run([OUTPUT], dict(zip(names, features, strict=True)))
        return np.asarray(outputs)

    return predict


def check_torch(file: Path) -> None:
    """Check that a program of ``torch.export`` holds no pickle.

    ``torch.export.load`` unpickles three things: tensors of unusual classes, objects, and example
    inputs. Our programs have neither of the first two, and the export leaves out the third.

    Raises:
        BundleError: If it holds one of them, or is not such a file.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                name = entry.filename.partition("/")[2]
                pickled = name.endswith(".pt") and entry.file_size > 0
                if name.endswith("_config.json"):
                    config = json.loads(archive.read(entry))["config"]
                    pickled = any(tensor["use_pickle"] for tensor in config.values())
                if pickled:
                    raise BundleError(f"{file} holds a pickle ({name}); export the bundle again.")
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{file} is no program of torch.export: {error}; export it again."
        ) from error


def check_onnx(file: Path, names: set[str]) -> None:
    """Check that an ONNX program takes its weights only from the bundle.

    Args:
        file: The program.
        names: The files that the manifest names.

    Raises:
        BundleError: If it names another file, or is not an ONNX program.
    """
    try:
        model = onnx.load(file, load_external_data=False)
    except Exception as error:  # protobuf's own
        raise BundleError(
            f"{file} is no ONNX program ({type(error).__name__}); export it again."
        ) from error
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location" and (
                entry.value != _EXTERNAL_DATA or entry.value not in names
            ):
                raise BundleError(
                    f"{file} reads {entry.value!r}, which is no file of the bundle; do not use it."
                )


class _SinglePrecision(nn.Module):
    """An ensemble, or one of its models, for the export: its outputs are float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *features: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.module(*features)
        return outputs.to(torch.float32)


def _export(
    module: EnsembleModule, signature: Signature, members: Sequence[str]
) -> torch.export.ExportedProgram:
    examples = tuple(torch.from_numpy(array) for array in example_rows(signature, _EXAMPLE_ROWS))
    try:
        with torch.no_grad():
            module(*examples)  # tells it which models write to their buffers
        return _exported(module, examples)
    except Exception as error:
        inputs = _as_trained(signature)
        _name_the_member(module, members, "torch.export", lambda model: _exported(model, inputs))
        raise _refusal("the ensemble", "torch.export", error) from error


def _as_trained(signature: Signature) -> tuple[torch.Tensor, ...]:
    """Return random rows in the form of a model's inputs."""
    rows = example_rows(signature, _EXAMPLE_ROWS)
    return tuple(
        as_trained(torch.from_numpy(array), entry)
        for array, entry in zip(rows, signature.inputs, strict=True)
    )


def _exported(
    module: nn.Module, examples: tuple[torch.Tensor, ...]
) -> torch.export.ExportedProgram:
    """Export with any number of rows; a ``forward`` that calls ``len`` needs the slower way."""
    rows = torch.export.Dim("rows", min=1)
    shapes = (tuple({0: rows} for _ in examples),)

    def export(strict: bool) -> torch.export.ExportedProgram:
        whole = _SinglePrecision(module).eval()
        with torch.no_grad():
            return torch.export.export(whole, examples, dynamic_shapes=shapes, strict=strict)

    try:
        exported = export(strict=False)
    except Exception:  # noqa: BLE001  of many kinds, for what running it cannot see
        exported = export(strict=True)
    exported.example_inputs = None  # would be pickled
    return exported


def _write_onnx(
    module: EnsembleModule,
    exported: torch.export.ExportedProgram,
    signature: Signature,
    file: Path,
    members: Sequence[str],
) -> None:
    size = sum(tensor.nbytes for tensor in tensors_of(module.state_dict()).values())
    names = [entry.name for entry in signature.inputs]
    try:
        program = _to_onnx(exported, names)
    except Exception as error:
        inputs = _as_trained(signature)
        _name_the_member(
            module, members, "ONNX", lambda model: _to_onnx(_exported(model, inputs), names)
        )
        raise _refusal("the ensemble", "ONNX", error) from error
    program.save(str(file), external_data=size > _LARGEST_PROTOBUF)


def _to_onnx(exported: torch.export.ExportedProgram, names: list[str]) -> Any:
    program = torch.onnx.export(
        exported,
        dynamo=True,
        verbose=False,
        input_names=names,
        output_names=[OUTPUT],
        dynamic_shapes=(tuple({0: "rows"} for _ in names),),
    )
    assert program is not None
    return program


def _name_the_member(
    module: EnsembleModule,
    members: Sequence[str],
    target: str,
    attempt: Callable[[nn.Module], object],
) -> None:
    """Raise an error for the first member whose model alone cannot be exported."""
    for name, models in zip(members, module.members, strict=True):
        assert isinstance(models, nn.ModuleList)
        try:
            attempt(models[0])
        except Exception as error:
            who = f"{name} ({type(models[0]).__name__})"
            raise _refusal(who, target, error) from error


def _refusal(who: str, target: str, error: Exception) -> BundleError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return BundleError(
        f"{who} cannot be exported to {target}: {reason}; write its forward without decisions on "
        "tensors' values, or export weights alone: programs=() (--no-programs)."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide PyTorch's messages about its own code and failed attempts."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)

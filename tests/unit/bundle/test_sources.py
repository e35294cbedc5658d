"""The user's code in a bundle's manifest: whatever a file is called, and nothing out of place."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rayfold.bundle.manifest import SourcePart
from rayfold.bundle.sources import _read, _write
from rayfold.library import model_source, resolve_model

NET = "from torch import nn\n\nimport layers\n\n\nclass Net(nn.Module):\n    gain = layers.GAIN\n"


@pytest.mark.parametrize("name", ["net.py", "my-net.py", "2 nets (old).py", "net.v2.py", "ñet.py"])
def test_a_model_goes_into_a_bundle_and_back_whatever_its_file_is_called(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text(NET)
    (tmp_path / "layers.py").write_text(f"GAIN = {name!r}\n")
    source = model_source(f"./{name}:Net", base=tmp_path)
    part = _write(source, tmp_path / "bundle")
    again = _read(tmp_path / "bundle", source.reference, SourcePart.model_validate(vars(part)))
    found: Any = resolve_model(again)
    assert found.gain == name


@pytest.mark.parametrize(
    "name",
    ["../net.py", "/net.py", "a/../net.py", "a//net.py", "./net.py", ".py", "a\\net.py", "a\n.py"],
)
def test_names_that_lead_elsewhere_are_no_manifest(name: str) -> None:
    values: dict[str, Any] = {
        "kind": "files",
        "digest": "0" * 64,
        "module": "net",
        "name": "Net",
        "packages": {},
    }
    SourcePart(**values, files={"net.py": "code/net.py"})
    with pytest.raises(ValidationError, match="should match pattern"):
        SourcePart(**values, files={name: "code/net.py"})

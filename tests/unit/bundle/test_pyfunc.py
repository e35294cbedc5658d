from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

FEATURES = np.array([[2.0, 3.0], [0.0, 1.0]])


@pytest.mark.parametrize("loader", ["rayfold.bundle.pyfunc", "rayfold.ensemble.pyfunc"])
def test_models_load_by_the_loader_that_they_were_registered_with(
    exported: Path, loader: str
) -> None:
    """Older ones name the second; 0.75 * (x + 2) + 0.25 * (2 x + 10)."""
    loaded = import_module(loader)._load_pyfunc(str(exported))
    assert loaded.predict(FEATURES) == pytest.approx([10.25, 5.25])
    assert loaded.predict({"features": FEATURES}) == pytest.approx([10.25, 5.25])

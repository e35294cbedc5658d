import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from rayfold.recipe import load_recipe
from rayfold.specification import DEFAULT_EPOCHS, DEFAULT_NUM_TRIALS
from rayfold.study import Study

README = Path(__file__).parents[2] / "README.md"


def test_the_shortest_recipe_of_the_readme_can_run_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYFOLD_STORAGE", str(tmp_path / "store"))
    with h5py.File(tmp_path / "digits.h5", "w") as file:
        file["features"] = np.random.default_rng(0).random((60, 16, 16), dtype=np.float32)
        file["labels"] = np.arange(60) % 3
    shortest, *_ = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(shortest.splitlines()) == 4
    (tmp_path / "digits.yaml").write_text(shortest)
    study = Study.from_recipe(load_recipe(tmp_path / "digits.yaml"))
    plan = study.plan()
    assert (plan.num_trials, plan.epochs, plan.num_folds) == (
        DEFAULT_NUM_TRIALS,
        DEFAULT_EPOCHS,
        5,
    )
    assert f"{DEFAULT_NUM_TRIALS} trials." in README.read_text()

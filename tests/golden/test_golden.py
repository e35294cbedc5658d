"""What version 0.1.0 has left behind still loads, and a study begun by it goes on."""

import json
import shutil
import sqlite3
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import rayfold as rf
from rayfold.errors import RecipeError
from rayfold.events import StudyBegun
from rayfold.journal import read_journal
from rayfold.recipe import Recipe
from rayfold.tracking import read_study
from tests.golden import studies
from tests.study_here import StudyHere

PACKED = Path(__file__).with_name("0.1.0.tar.xz")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store, journals, bundle and data of 0.1.0, with the store's place put right."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(PACKED) as packed:
        packed.extractall(folder, filter="data")
    store = folder / "0.1.0" / "store"
    with sqlite3.connect(store / "mlflow.db") as database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            database.execute(
                f"UPDATE {table} SET {column} = REPLACE({column}, '/STORE', ?)", [str(store)]
            )
    return store.parent


@pytest.mark.parametrize("name", ["population", "racing", "resumed", "two_workers"])
def test_journals_load_event_by_event(old: Path, name: str) -> None:
    entries = read_journal(old / "journals" / f"{name}.jsonl")
    events = [entry.read() for entry in entries]
    assert len(events) > 10
    for entry, event in zip(entries, events, strict=True):
        assert event is not None
        gone = {"taken_up"}  # whether a group had a population's state in memory
        assert event.to_fields().keys() >= entry.fields.keys() - gone
        if isinstance(event, StudyBegun):
            assert json.dumps(event.to_fields()) == json.dumps(entry.fields)


def test_a_study_that_it_began_goes_on_to_the_same_scores(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its journal is cut off after four trials; the other six are trained here and now."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    whole = old / "store" / "generational"
    lines = (whole / "journal.jsonl").read_text().splitlines(keepends=True)
    ends = [number for number, line in enumerate(lines) if '"event":"trial"' in line]
    shutil.copytree(whole, tmp_path / "generational")
    (tmp_path / "generational" / "journal.jsonl").write_text("".join(lines[: ends[3] + 1]))
    study = studies.generational(old / "data.h5", tmp_path)
    study.__class__ = StudyHere
    assert "4 completed" in study.plan(10).done
    study.run(10)
    then, now = (
        studies.decisions(folder / "journal.jsonl")
        for folder in (whole, tmp_path / "generational")
    )
    assert [entry["event"] for entry in now] == [entry["event"] for entry in then]
    for before, after in zip(then, now, strict=True):
        assert after.keys() == before.keys()
        if before["event"] == "trial":
            assert after["score"] == pytest.approx(before["score"], rel=1e-5)
        elif before["event"] == "suggestion":
            assert after == before


def test_what_is_gone_is_refused_by_its_name(old: Path) -> None:
    recipe = f"{{study: a, fixed: {{model: mlp, data: {{hdf5: {old / 'data.h5'}}}}}}}"
    for change, name in (
        ("search.scheduler=racing_halving", "racing_halving"),
        ("search.searcher={genetic: {update: auto}}", "auto"),
    ):
        with pytest.raises(RecipeError, match=name):
            Recipe.from_yaml(recipe, overrides=[change])


def test_a_store_lists_and_ensembles(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logged = read_study("generational", storage=old / "store")
    assert {trial.status for trial in logged.trials} == {"completed"}
    ensemble = rf.Ensemble.greedy("generational", storage=old / "store", num_rounds=3)
    with h5py.File(old / "data.h5") as file:
        features = file["features"][:4]
    bundle = rf.load_bundle(old / "bundle")
    assert np.allclose(ensemble.predict_proba(features), bundle.predict_proba(features), atol=1e-5)


def test_a_bundle_predicts_what_it_did(old: Path) -> None:
    with h5py.File(old / "data.h5") as file:
        features = file["features"][:4]
    assert np.allclose(
        rf.load_bundle(old / "bundle").predict_proba(features),
        [
            [0.97198779, 0.02541031, 0.00260190],
            [0.01668833, 0.37504476, 0.60826691],
            [0.00875290, 0.17787591, 0.81337120],
            [0.94890257, 0.04370040, 0.00739703],
        ],
        atol=1e-5,
    )

"""Trials that begin with fold models of an earlier study, through a real MLflow.

What is planned needs no Ray; that trials do begin so is tested with a real one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import rayfold as rf
from rayfold.data import SeenRows
from rayfold.errors import RecipeError, TrackingError
from rayfold.journal import read_journal
from rayfold.tracking import read_study
from tests.study_here import StudyHere

SPACE = rf.SearchSpace(
    {
        "model.hidden": rf.Choice(8, 16),
        "optimizer.learning_rate": rf.Float(1e-3, 1e-1, log=True),
    }
)

MakeStudy = Callable[..., rf.Study]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("initial weights")


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


@pytest.fixture(scope="module")
def make_study(digits: Path, storage: Path) -> MakeStudy:
    def make(name: str, kind: type[rf.Study] = rf.Study, **changes: Any) -> rf.Study:
        given: dict[str, Any] = {
            "model": "mlp",
            "data": rf.HDF5(digits),
            "holdout": rf.Holdout(0.2),
            "space": SPACE,
            "searcher": rf.search.Random(random_seed=1),
            "folds": rf.Folds(2),
            "epochs": 1,
            "storage": storage,
        }
        return kind(name, **{**given, **changes})

    return make


@pytest.fixture(scope="module")
def source(make_study: MakeStudy) -> rf.StudyResult:
    return make_study("source", kind=StudyHere).run(4, show_progress=False)


@pytest.fixture(scope="module")
def target(ray_session: None, source: rf.StudyResult, make_study: MakeStudy) -> rf.StudyResult:
    wanted = rf.InitialWeights("source", shrink=1.0, noise=0.0, learning_rate_factor=1e-6)
    return make_study("target", initial_weights=wanted).run(5, show_progress=False)


@pytest.mark.slow
def test_each_fold_begins_with_the_model_of_its_own_number(target: rf.StudyResult) -> None:
    begun = [
        [fold.initial and fold.initial.fold for fold in trial.folds] for trial in target.trials
    ]
    assert begun[:2] == [[None, 1], [0, None]]  # one fold of each is its control
    assert begun[4] == [None, None]
    assert [trial.warm for trial in target.trials] == [True, True, True, True, False]
    table = target.table().set_index("trial")
    assert table.loc["0004", "begins"] == "cold"
    assert str(table.loc["0000", "begins"]).startswith("6 of 6 tensors of source/")


@pytest.mark.slow
def test_what_is_not_shrunk_and_hardly_learns_stays_what_it_was(
    target: rf.StudyResult, storage: Path
) -> None:
    fold = target.trials[0].folds[1]
    assert fold.initial is not None
    (trial,) = (
        t for t in read_study("source", storage=storage).trials if t.id == fold.initial.trial
    )
    before, after = load_file(trial.weights(1)), load_file(storage / "target" / fold.weights)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_mlflow_tells_what_a_trial_began_with(target: rf.StudyResult, storage: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(target.tracking_uri)
    tags = [
        client.get_run(trial.run_id).data.tags["rayfold.initial_weights"]
        for trial in read_study("target", storage=storage).trials
    ]
    assert tags[0].startswith("6 of 6 tensors of source/")
    assert tags[4] == "none"


@pytest.mark.slow
def test_the_models_of_a_fold_inherit_what_their_sources_have_seen(
    target: rf.StudyResult, storage: Path, make_study: MakeStudy
) -> None:
    study = make_study("target")
    plan = study.specification.folds.split(study.dataset)
    logged = read_study("target", storage=storage)
    seen = SeenRows.load(logged.seen_rows())
    for fold in plan.folds:
        assert len(seen.inherited[fold.index]) > 0
        hidden = np.concatenate([fold.validation_rows, study.dataset.test_rows])
        hidden = np.setdiff1d(seen.digests[hidden], seen.digests[fold.training_rows])
        assert not np.isin(hidden, seen.by_fold(fold.index)).any()


@pytest.mark.slow
def test_going_on_does_not_ask_mlflow_again(
    target: rf.StudyResult,
    make_study: MakeStudy,
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/gone.db")
    wanted = rf.InitialWeights("source", shrink=1.0, noise=0.0, learning_rate_factor=1e-6)
    study = make_study("target", initial_weights=wanted)
    (begun,) = (
        e for e in read_journal(study.folder / "journal.jsonl") if e.event == "initial_weights"
    )
    assert study.plan(5).past == tuple(begun.fields["lines"])
    kept = next((study.folder / "initial_weights").rglob("*.safetensors"))
    kept.rename(kept.with_suffix(".away"))
    with pytest.raises(RecipeError, match="is missing, which the study's trials begin with"):
        study.plan(5)
    kept.with_suffix(".away").rename(kept)


def test_other_folds_of_the_same_rows_are_refused(
    source: rf.StudyResult, make_study: MakeStudy
) -> None:
    study = make_study("other-folds", folds=rf.Folds(2, random_seed=1), initial_weights="source")
    with pytest.raises(RecipeError, match="every model of study 'source' has seen validation or"):
        study.plan(1)


def test_another_test_split_of_the_same_rows_is_refused(
    source: rf.StudyResult, make_study: MakeStudy
) -> None:
    holdout = rf.Holdout(0.2, random_seed=1)
    study = make_study("other-test", holdout=holdout, initial_weights="source")
    with pytest.raises(RecipeError, match="has seen validation or test rows"):
        study.plan(1)


def test_other_data_with_other_classes_keep_all_but_the_output_layer(
    source: rf.StudyResult, make_study: MakeStudy, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    with h5py.File(tmp_path / "letters.h5", "w") as file:
        file["features"] = generator.random((100, 8, 8), dtype=np.float32)
        file["labels"] = np.arange(100) % 10 + 10
    data = rf.HDF5(tmp_path / "letters.h5")
    study = make_study("letters", data=data, holdout=rf.Holdout(), initial_weights=["source"])
    lines = study.plan(1).past
    assert "the output layer begins anew" in lines[0]
    assert lines[1].startswith("4 of 6 tensors can be loaded in 16 configurations")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"initial_weights": "sourc"}, TrackingError, "did you mean 'source'"),
        (
            {"initial_weights": rf.InitialWeights("source", frozen_epochs=1)},
            RecipeError,
            "below epochs",
        ),
        (
            {"initial_weights": "source", "model": "cnn", "space": "cnn"},
            RecipeError,
            "no tensor of source has the name and shape",
        ),
    ],
)
def test_what_cannot_be_begun_with_is_told(
    source: rf.StudyResult,
    make_study: MakeStudy,
    changes: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message) as caught:
        make_study("wrong", **changes).plan(1)
    assert "\n" not in str(caught.value)


def test_a_study_from_before_rows_were_logged_is_refused(
    source: rf.StudyResult, make_study: MakeStudy, storage: Path
) -> None:
    run = read_study("source", storage=storage).run_id
    (file,) = (storage / "artifacts").rglob(f"{run}/**/seen_rows.safetensors")
    file.rename(file.with_suffix(".away"))
    try:
        with pytest.raises(
            TrackingError, match=r"seen_rows\.safetensors of study source cannot be"
        ):
            make_study("late", initial_weights="source").plan(1)
    finally:
        file.with_suffix(".away").rename(file)


def test_a_recipe_names_studies_alone_or_says_more(digits: Path) -> None:
    def recipe(initial_weights: object) -> rf.Recipe:
        return rf.Recipe.of(
            {
                "study": "next",
                "fixed": {
                    "model": "mlp",
                    "data": {"hdf5": str(digits)},
                    "epochs": 2,
                    "initial_weights": initial_weights,
                },
                "search": {"space": "mlp", "num_trials": 1},
            }
        )

    for given in ("source", ["source"], {"studies": "source", "frozen_epochs": 1}):
        study = rf.Study.from_recipe(recipe(given))
        assert study.specification.initial_weights is not None
        assert study.specification.initial_weights.studies == ("source",)
    with pytest.raises(RecipeError, match="initial_weights"):
        recipe({"studies": "source", "shrink": 2})
    with pytest.raises(RecipeError, match=r"initial_weights\.studies"):
        recipe([])
    with pytest.raises(RecipeError, match=r"initial_weights\.studies must be text, .* got 5"):
        recipe(5)

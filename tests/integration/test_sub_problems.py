"""A study in two parts: out of time within its parts, gone on with, finished and combined."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import rayfold as rf
from rayfold.bundle import export_bundle
from rayfold.ensemble.builders import Builder, Greedy, Selection, Stacked
from rayfold.ensemble.candidates import read_candidates, read_parts
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.jobs import FoldJob
from rayfold.journal import Entry, read_journal
from rayfold.library import model_source
from rayfold.study import execution
from rayfold.tracking import read_study
from rayfold.training import FoldRun, Settings, SingleProcess, StudySetup

pytestmark = pytest.mark.slow

NAMES = ("digits.even", "digits.odd")
MAX_TIME = 3600.0


class Clock:
    """A clock that goes on by itself, and jumps by an hour once a part has trained a fold."""

    def __init__(self, storage: Path) -> None:
        self._storage = storage

    def monotonic(self) -> float:
        late = any(self._storage.glob("digits.*/trials/*/fold_*/result.json"))
        return time.monotonic() + MAX_TIME * late


@dataclass(frozen=True, kw_only=True)
class Run:
    """The study's two runs, and the journals after each."""

    study: rf.Study
    first: rf.StudyResult
    before: dict[str, list[Entry]]
    result: rf.StudyResult
    after: dict[str, list[Entry]]

    @property
    def storage(self) -> Path:
        return self.study.storage


@pytest.fixture(scope="module")
def run(
    digits: Path, ray_session: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        storage = tmp_path_factory.mktemp("a store")

        def make() -> rf.Study:
            return rf.Study(
                "digits",
                model="mlp",
                data=rf.HDF5(digits),
                holdout=rf.Holdout(0.2),
                space=rf.SearchSpace({"optimizer.learning_rate": rf.Float(1e-3, 3e-2, log=True)}),
                searcher=rf.search.Random(random_seed=1),
                sub_problems=rf.SubProblems(
                    by="labels",
                    groups={"even": [0, 2, 4, 6, 8], "odd": [1, 3, 5, 7, 9]},
                    num_trials=2,
                ),
                folds=rf.Folds(2),
                epochs=3,
                groups=rf.Groups(2, 2, cpus_per_worker=0.5),
                storage=storage,
            )

        with patch.context() as for_the_run:
            for_the_run.setattr(execution, "time", Clock(storage))
            first = make().run(2, max_time=MAX_TIME, show_progress=False)
        before = journals(storage)
        study = make()
        result = study.run(2, show_progress=False)
        yield Run(study=study, first=first, before=before, result=result, after=journals(storage))


def journals(storage: Path) -> dict[str, list[Entry]]:
    return {name: read_journal(storage / name / "journal.jsonl") for name in ("digits", *NAMES)}


def of_event(entries: list[Entry], event: str) -> list[Entry]:
    return [entry for entry in entries if entry.event == event]


def test_a_run_out_of_time_in_its_parts_begins_no_study(run: Run) -> None:
    assert (run.first.out_of_time, run.first.trials) == (True, ())
    assert run.before["digits"] == []
    for name in NAMES:
        states = [entry.fields["state"] for entry in of_event(run.before[name], "run")]
        assert states == ["started", "out_of_time"]


def test_the_parts_take_turns_in_one_pool(run: Run) -> None:
    suggested = sorted(
        (entry.time, name) for name in NAMES for entry in of_event(run.before[name], "suggestion")
    )
    assert [name for _, name in suggested][:2] == [*NAMES]
    even, odd = ([entry.fields for entry in of_event(run.before[name], "group")] for name in NAMES)
    assert even == odd


def test_the_same_run_again_finishes_what_was_begun(run: Run) -> None:
    for name, part in zip(NAMES, run.result.parts, strict=True):
        before, after = run.before[name], run.after[name]
        assert after[: len(before)] == before
        assert [trial.status for trial in part.trials] == ["completed"] * 2
        assert part.name == name
        folds = [
            (entry.fields["trial"], entry.fields["result"]["fold"])
            for entry in of_event(after, "fold")
        ]
        assert sorted(folds) == [("0000", 0), ("0000", 1), ("0001", 0), ("0001", 1)]
    assert [trial.status for trial in run.result.trials] == ["completed"] * 2


def test_parts_draw_other_configurations_than_each_other(run: Run) -> None:
    rates = [
        trial.config["optimizer.learning_rate"]
        for part in run.result.parts
        for trial in part.trials
    ]
    assert len(set(rates)) == len(rates) == 4


def test_the_study_starts_from_the_trials_of_its_parts(run: Run) -> None:
    past = run.after["digits"][0]
    assert past.event == "past"
    assert past.fields["lines"] == [f"{name}: its part; 2 of 2 trials" for name in NAMES]
    tried = [tuple(trial.config.items()) for trial in run.result.trials]
    of_parts = [tuple(trial.config.items()) for part in run.result.parts for trial in part.trials]
    assert tried[0] in of_parts


def test_trials_begin_with_models_of_the_parts_that_saw_none_of_their_rows(run: Run) -> None:
    begun = [[fold.initial for fold in trial.folds] for trial in run.result.trials]
    assert [[each and each.fold for each in folds] for folds in begun] == [[None, 1], [0, None]]
    assert {each.study for folds in begun for each in folds if each is not None} == set(NAMES)
    (kept,) = of_event(run.after["digits"], "initial_weights")
    assert {source["study"] for source in kept.fields["warm_start"]["sources"]} == set(NAMES)


def test_models_of_a_part_saw_its_rows_and_none_that_they_predict(
    run: Run, tmp_path: Path
) -> None:
    """Replaying a fold of the plan gives the scores that the group got."""
    data, plan = run.study.dataset, run.study.fold_plan
    for sub_study, part, parity in zip(
        run.study.preparation.parts, run.result.parts, (0, 1), strict=True
    ):
        setup = StudySetup(
            model=model_source("mlp"),
            settings=Settings(epochs=3, metrics=("accuracy",)),
            plan=sub_study.fold_plan,
            folder=tmp_path / part.name,
        )
        trial = part.trials[0]
        for fold, whole, done in zip(setup.plan.folds, plan.folds, trial.folds, strict=True):
            assert set(data.labels[fold.training_rows] % 2) == {parity}
            unseen = {*whole.validation_rows, *data.test_rows}
            assert not unseen & set(fold.training_rows)
            tensors = load_file(sub_study.folder.path / str(done.predictions))
            assert np.array_equal(tensors["rows"], whole.validation_rows)
            job = FoldJob(trial=trial.id, config=trial.config, fold=fold.index, until_epoch=3)
            replayed = FoldRun(job, setup=setup, data=data, collective=SingleProcess()).advance(
                job
            )
            assert replayed is not None
            assert replayed.score == pytest.approx(done.score, rel=1e-5)


def test_mlflow_holds_the_study_and_its_parts(run: Run) -> None:
    whole = read_study("digits", storage=run.storage)
    assert whole.description.sub_problems is not None
    assert whole.description.sub_problems.parts == ("even", "odd")
    for name in NAMES:
        part = read_study(name, storage=run.storage)
        assert part.description.sub_problem is not None
        assert part.description.sub_problem.of == "digits"
        assert part.description.fold_digest == whole.description.fold_digest
        assert [trial.folds for trial in part.trials] == [(0, 1)] * 2


class Last(Builder):
    """Chooses the last candidate alone."""

    def build(self, out_of_fold: OutOfFold) -> Selection:
        return Selection.of_weights(np.eye(len(out_of_fold.predictions))[-1])

    def settings(self) -> dict[str, Any]:
        return {"last": {}}


def test_the_average_of_the_parts_is_a_candidate_of_the_study(run: Run) -> None:
    logged = read_study("digits", storage=run.storage)
    parts = read_parts(logged, uri=None, storage=run.storage)
    candidates = read_candidates([logged], min_share=0.5, parts=[parts])
    assert len(candidates.made_of) == 3
    best = [part.best.id for part in run.result.parts if part.best is not None]
    assert candidates.name(2) == f"digits.even/{best[0]} + digits.odd/{best[1]}"
    alone = read_candidates(parts, min_share=0.5)
    chosen = [int(best[0]), 2 + int(best[1])]
    assert candidates.out_of_fold.predictions[2] == pytest.approx(
        alone.out_of_fold.predictions[chosen].mean(axis=0)
    )


def test_the_chosen_weight_is_split_over_the_parts(run: Run) -> None:
    data = run.study.dataset
    features = data.features[0][data.test_rows]
    ensemble = rf.Ensemble.build("digits", Last(), storage=run.storage)
    assert [member.weight for member in ensemble.members] == [0.5, 0.5]
    assert {name.split("/")[0] for name in ensemble.table()["trial"]} == set(NAMES)
    mean = np.mean(
        [
            torch.stack([model(torch.from_numpy(features)) for model in member.models])
            .softmax(2)
            .mean(0)
            for member in ensemble.members
        ],
        axis=0,
    )
    assert ensemble.predict_proba(features) == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("builder", [Greedy(5), Stacked()])
def test_every_builder_may_choose_it(run: Run, builder: Builder) -> None:
    ensemble = rf.Ensemble.build("digits", builder, storage=run.storage)
    assert sum(member.weight for member in ensemble.members) == pytest.approx(1.0)
    assert ensemble.predict_proba(run.study.dataset.features[0][:3]).shape == (3, 10)


def test_a_bundle_with_it_predicts_the_same(run: Run, tmp_path: Path) -> None:
    """Export itself compares the program with the ensemble."""
    ensemble = rf.Ensemble.build("digits", Stacked(3), storage=run.storage)
    assert len(ensemble.members) == 4
    bundle = export_bundle(ensemble, tmp_path / "bundle", programs=("onnx",))
    features = run.study.dataset.features[0][:17]
    assert rf.load_bundle(bundle).predict_proba(features) == pytest.approx(
        ensemble.predict_proba(features), abs=1e-6
    )


def test_the_single_best_is_a_trial_of_the_study_itself(run: Run) -> None:
    ensemble = rf.Ensemble.single_best("digits", storage=run.storage)
    (member,) = ensemble.members
    assert ensemble.origin.studies[member.study_id] == "digits"

import json
import logging
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rayfold.errors import TrackingError
from rayfold.journal import Journal, read_journal
from rayfold.results import FoldResult
from rayfold.tracking import (
    Uploader,
    check_store,
    list_descriptions,
    list_studies,
    read_study,
    tracking_uri,
)
from rayfold.tracking.mirror import StudyMirror
from rayfold.tracking.store import StoreError, describe, search_runs, sqlite_file
from rayfold.tracking.tags import config_from_tags, config_to_tags
from tests.descriptions import described

T0 = 1_700_000_000.0
TIMEOUT_S = 60.0
TRACEBACK = """Traceback (most recent call last):
  File "/home/me/net.py", line 3, in forward
    raise ValueError("too deep")
ValueError: too deep
"""
CONFIG = {"model.channels": 8, "optimizer.name": "sgd", "optimizer.learning_rate": 0.1}


class Study:
    """A study's folder and journal, written as a study writes them."""

    def __init__(self, storage: Path, name: str = "digits", id_: str = "a" * 32):
        self.storage = storage
        self.folder = storage / id_
        self.journal = Journal.open(self.folder / "journal.jsonl")
        self.journal.append(
            "study",
            name=name,
            id=id_,
            description=described(
                model="rayfold.models.cnn:CNN", classes=[0, 1], environment={"torch": "2.13.0"}
            ),
        )
        self.journal.append("run", state="started")

    def suggest(self, trial: str, **config: Any) -> None:
        self.journal.append("suggestion", trial=trial, config=config or CONFIG)

    def fold(self, trial: str, fold: int, losses: tuple[float, ...]) -> None:
        folder = self.folder / "trials" / trial / f"fold_{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weight": np.full(3, fold, np.float32)}, folder / "weights.safetensors")
        save_file({"rows": np.array([fold])}, folder / "predictions.safetensors")
        result = FoldResult(
            fold=fold,
            score=losses[-1],
            history=tuple(
                {"val_loss": loss, "finished_at": T0 + fold + epoch / 4}
                for epoch, loss in enumerate(losses)
            ),
            started_at=T0 + 10 * fold,
            finished_at=T0 + 10 * fold + 4,
            busy_seconds=1.0,
            weights=str((folder / "weights.safetensors").relative_to(self.folder)),
            predictions=str((folder / "predictions.safetensors").relative_to(self.folder)),
        )
        self.journal.append("fold", trial=trial, result=result.to_dict())

    def end(self, trial: str, status: str = "completed", **fields: Any) -> None:
        values = {"score": None, "standard_error": None, "error": None, **fields}
        self.journal.append("trial", trial=trial, status=status, **values)

    def retry(self, trial: str, *, fresh: bool, code: str = "c" * 64) -> None:
        self.journal.append("retry", trial=trial, code=code, fresh=fresh)

    def complete(self, trial: str) -> None:
        self.suggest(trial)
        self.fold(trial, 0, (1.0, 0.5))
        self.fold(trial, 1, (2.0, 1.5))
        self.end(trial, score=1.0, standard_error=0.5)

    def uploader(self, uri: str | None = None) -> Uploader:
        artifacts = self.storage / "artifacts"
        return Uploader(self.folder, uri or tracking_uri(self.storage), artifacts)

    def upload(self) -> None:
        assert self.uploader().start().finish(TIMEOUT_S)

    def read(self, **arguments: Any) -> Any:
        return read_study("digits", storage=self.storage, **arguments)


@pytest.fixture
def study(storage: Path) -> Iterator[Study]:
    study = Study(storage)
    yield study
    study.journal.close()


@pytest.fixture
def client(storage: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=tracking_uri(storage))


def contents(storage: Path) -> dict[str, list[Any]]:
    """All that the store holds of runs, in an order of its own."""
    with sqlite3.connect(storage / "mlflow.db") as database:
        tables = ("experiments", "runs", "metrics", "params", "tags")
        rows = {table: database.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
    database.close()
    return {table: sorted(map(repr, found)) for table, found in rows.items()}


def test_a_trial_comes_back_as_it_was(study: Study) -> None:
    study.complete("0000")
    study.upload()
    logged = study.read()
    assert (logged.name, logged.id) == ("digits", "a" * 32)
    assert logged.description.data.classes == (0, 1)
    [trial] = logged.trials
    assert trial.id == "0000"
    assert trial.config == CONFIG
    assert [type(value) for value in trial.config.values()] == [int, str, float]
    assert (trial.status, trial.score, trial.standard_error) == ("completed", 1.0, 0.5)
    assert trial.folds == (0, 1)
    assert (trial.data_digest, trial.fold_digest) == ("d" * 64, "f" * 64)
    assert load_file(trial.weights(1))["weight"].tolist() == [1, 1, 1]
    assert load_file(trial.predictions(1))["rows"].tolist() == [1]


def test_metrics_are_per_epoch_from_one_with_folds_and_their_mean(
    study: Study, client: mlflow.MlflowClient
) -> None:
    study.complete("0000")
    study.upload()
    run = study.read().trials[0].run_id

    def points(metric: str) -> list[tuple[int, float]]:
        return [(point.step, point.value) for point in client.get_metric_history(run, metric)]

    assert points("fold_0/val_loss") == [(1, 1.0), (2, 0.5)]
    assert points("fold_1/val_loss") == [(1, 2.0), (2, 1.5)]
    assert points("val_loss") == [(1, 1.5), (2, 1.0)]
    assert points("score") == [(0, 1.0)]
    assert points("standard_error") == [(0, 0.5)]
    assert points("fold_seconds") == [(0, 4.0)]
    [last] = [p for p in client.get_metric_history(run, "fold_1/val_loss") if p.step == 2]
    assert last.timestamp == (T0 + 1.25) * 1000


def test_runs_are_a_parent_and_children_with_the_times_of_the_journal(
    study: Study, client: mlflow.MlflowClient
) -> None:
    study.complete("0000")
    study.journal.append("run", state="finished")
    study.upload()
    logged = study.read()
    parent, child = client.get_run(logged.run_id), client.get_run(logged.trials[0].run_id)
    times = [int(entry.time * 1000) for entry in read_journal(study.journal.path)]
    assert (parent.info.start_time, parent.info.end_time) == (times[0], times[-1])
    assert (child.info.start_time, child.info.end_time) == (times[2], times[5])
    assert (parent.info.status, child.info.status) == ("FINISHED", "FINISHED")
    assert parent.data.tags["rayfold.kind"] == "study"
    assert parent.data.tags["rayfold.model"] == "rayfold.models.cnn:CNN"
    assert parent.data.tags["rayfold.environment.torch"] == "2.13.0"
    assert child.data.tags["mlflow.parentRunId"] == logged.run_id
    assert child.data.params == {k: str(v) for k, v in CONFIG.items()}


def test_a_failed_trial_keeps_its_traceback(study: Study, client: mlflow.MlflowClient) -> None:
    study.suggest("0000")
    study.end("0000", "failed", error=TRACEBACK)
    study.upload()
    assert study.read().trials == ()
    [trial] = study.read(completed_only=False).trials
    run = client.get_run(trial.run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags["rayfold.error"] == "ValueError: too deep (net.py line 3, in forward)"
    assert trial.error == run.data.tags["rayfold.error"]
    file = client.download_artifacts(trial.run_id, "error.txt", str(study.folder))
    assert Path(file).read_text() == TRACEBACK


def test_an_error_that_no_utf8_can_hold_is_uploaded_and_so_is_what_follows(study: Study) -> None:
    study.suggest("0000")
    study.end("0000", "failed", error="ValueError: bad \ud800\n")
    study.complete("0001")
    study.upload()
    failed, completed = study.read(completed_only=False).trials
    assert failed.error == r"ValueError: bad \ud800"
    assert completed.folds == (0, 1)


def test_an_entry_that_mlflow_refuses_is_told_and_those_after_it_are_uploaded(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    """MLflow takes no parameter whose name holds a question mark."""
    study.suggest("0000", **{"model.wide?": 1})
    study.fold("0000", 0, (1.0,))
    study.complete("0001")
    study.upload()
    [trial] = study.read().trials
    assert trial.id == "0001"
    [told] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told.startswith("MLflow refuses the suggestion of trial 0000 (")


def test_a_stopped_trial_is_killed_with_the_mean_of_the_folds_it_has(
    study: Study, client: mlflow.MlflowClient
) -> None:
    study.suggest("0000")
    study.fold("0000", 1, (2.0, 1.5))
    study.end("0000", "stopped", score=1.5)
    study.upload()
    [trial] = study.read(completed_only=False).trials
    run = client.get_run(trial.run_id)
    assert (run.info.status, run.data.metrics["val_loss"], trial.folds) == ("KILLED", 1.5, (1,))


def test_a_loss_that_is_not_finite_is_logged_as_nan(
    study: Study, client: mlflow.MlflowClient
) -> None:
    study.suggest("0000")
    study.fold("0000", 0, (1.0, math.inf))
    study.end("0000")
    study.upload()
    run = study.read().trials[0].run_id
    history = client.get_metric_history(run, "val_loss")
    assert (history[0].value, history[0].step) == (1.0, 1)
    assert math.isnan(history[1].value)


def test_a_second_uploader_adds_nothing(study: Study, storage: Path) -> None:
    study.complete("0000")
    study.suggest("0001")
    study.fold("0001", 0, (1.0, math.nan))
    study.upload()
    before = contents(storage)
    assert len(before["metrics"]) == 2 + 2 + 2 + 4 + 2
    study.upload()
    assert contents(storage) == before


class Breaking:
    """A client that dies for good before its call number ``last``."""

    def __init__(self, client: mlflow.MlflowClient, last: int):
        self.client, self.left = client, last

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.client, name)
        if not callable(attribute):
            return attribute
        if self.left == 0:
            raise ConnectionError("died")
        self.left -= 1
        return attribute


@pytest.mark.slow
def test_an_uploader_that_died_between_any_two_calls_leaves_nothing_twice_or_out(
    study: Study, storage: Path, client: mlflow.MlflowClient
) -> None:
    """The store after each death and one more upload is the store of a single upload."""
    study.complete("0000")
    study.suggest("0001")
    study.fold("0001", 0, (1.0,))
    study.end("0001", "failed", error="ValueError: no")
    study.retry("0001", fresh=False)
    study.end("0001", "failed", error="ValueError: still no")
    study.suggest("0002")
    study.journal.append("run", state="interrupted")
    entries = read_journal(study.journal.path)

    def wanted() -> tuple[Any, ...]:
        runs = [
            (run.data.tags, run.data.params, run.data.metrics, run.info.status, run.info.end_time)
            for run in sorted(
                search_runs(client, experiment(client), {}), key=lambda run: run.info.run_name
            )
        ]
        for tags, *_ in runs:
            tags.pop("mlflow.parentRunId", None)
        return runs, {kind: len(rows) for kind, rows in contents(storage).items()}

    fresh = (storage / "mlflow.db").read_bytes()

    def upload(client: Any) -> None:
        StudyMirror(client, "rayfold", storage / "artifacts", study.folder).apply(entries)

    upload(client)
    expected = wanted()
    assert len(expected[0]) == 4
    calls = 0
    died = True
    while died:
        client._tracking_client.store.engine.dispose()
        (storage / "mlflow.db").write_bytes(fresh)
        try:
            upload(Breaking(client, calls))
        except ConnectionError:
            upload(client)
        else:
            died = False
        assert wanted() == expected, f"after dying at call {calls}"
        calls += 1
    assert calls > 20


def experiment(client: mlflow.MlflowClient, name: str = "rayfold") -> str:
    found = client.get_experiment_by_name(name)
    assert found is not None
    return str(found.experiment_id)


def test_what_is_appended_while_it_runs_is_uploaded(study: Study) -> None:
    uploader = study.uploader().start()
    study.complete("0000")
    uploader.notify()
    study.complete("0001")
    assert uploader.finish(TIMEOUT_S)
    assert [trial.id for trial in study.read().trials] == ["0000", "0001"]


@pytest.mark.parametrize("state", ["interrupted", "out_of_time"])
def test_an_interrupted_study_goes_on_in_the_same_runs(
    study: Study, client: mlflow.MlflowClient, state: str
) -> None:
    study.suggest("0000")
    study.journal.append("epoch", trial="0000", epoch=1, scores=[[0, 2.0]])
    study.journal.append("run", state=state)
    study.upload()
    [trial] = study.read(completed_only=False).trials
    parent = study.read().run_id
    assert client.get_run(parent).info.status == "KILLED"
    assert client.get_run(trial.run_id).info.status == "KILLED"
    study.journal.append("run", state="started")
    study.upload()
    assert client.get_run(parent).info.status == "RUNNING"
    assert client.get_run(trial.run_id).info.status == "RUNNING"
    study.fold("0000", 0, (1.0,))
    study.end("0000", score=1.0)
    study.journal.append("run", state="finished")
    study.upload()
    assert client.get_run(parent).info.status == "FINISHED"
    assert [t.run_id for t in study.read().trials] == [trial.run_id]


def points(client: mlflow.MlflowClient, run_id: str, metric: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run_id, metric)]


@pytest.mark.parametrize("uploads", [1, 2])
def test_a_trial_that_begins_anew_has_one_run_without_metrics_of_its_first_try(
    study: Study, client: mlflow.MlflowClient, uploads: int
) -> None:
    """The first try failed in fold 1, after 3 epochs of fold 0 with code a."""
    study.suggest("0000")
    study.fold("0000", 0, (3.0, 2.0, 1.0))
    study.end("0000", "failed", error=TRACEBACK)
    study.journal.append("run", state="finished")
    if uploads == 2:
        study.upload()
        [trial] = study.read(completed_only=False).trials
        assert (trial.status, trial.error) == (
            "failed",
            "ValueError: too deep (net.py line 3, in forward)",
        )
        assert points(client, trial.run_id, "val_loss") == [(1, 3.0), (2, 2.0), (3, 1.0)]
    study.journal.append("run", state="started")
    study.retry("0000", fresh=True, code="b" * 64)
    study.fold("0000", 0, (0.5,))
    study.fold("0000", 1, (0.25,))
    study.end("0000", score=0.375)
    study.journal.append("run", state="finished")
    study.upload()
    study.upload()
    [trial] = study.read(completed_only=False).trials
    assert (trial.status, trial.error, trial.code) == ("completed", None, "b" * 64)
    assert (trial.score, trial.folds, trial.config) == (0.375, (0, 1), CONFIG)
    run = client.get_run(trial.run_id)
    assert (run.info.status, run.data.tags["rayfold.attempt"]) == ("FINISHED", "1")
    assert run.data.params == {name: str(value) for name, value in CONFIG.items()}
    assert points(client, trial.run_id, "fold_0/val_loss") == [(1, 0.5)]
    assert points(client, trial.run_id, "val_loss") == [(1, 0.375)]
    assert points(client, trial.run_id, "score") == [(0, 0.375)]
    children = [
        run
        for run in search_runs(client, experiment(client), {})
        if "rayfold.trial" in run.data.tags
    ]
    assert [run.info.run_id for run in children] == [trial.run_id]


def test_a_trial_that_is_tried_again_keeps_its_folds_once(
    study: Study, client: mlflow.MlflowClient
) -> None:
    study.suggest("0000")
    study.fold("0000", 0, (2.0, 1.0))
    study.end("0000", "failed", error=TRACEBACK)
    study.upload()
    study.retry("0000", fresh=False)
    study.upload()
    [trial] = study.read(completed_only=False).trials
    assert (trial.status, trial.folds) == ("running", (0,))
    assert client.get_run(trial.run_id).info.status == "RUNNING"
    study.fold("0000", 1, (4.0, 3.0))
    study.end("0000", score=2.0)
    study.upload()
    [again] = study.read(completed_only=False).trials
    assert (again.run_id, again.status, again.folds) == (trial.run_id, "completed", (0, 1))
    assert points(client, again.run_id, "fold_0/val_loss") == [(1, 2.0), (2, 1.0)]
    assert points(client, again.run_id, "val_loss") == [(1, 3.0), (2, 2.0)]
    assert load_file(again.weights(0))["weight"].tolist() == [0, 0, 0]


def test_a_trial_that_begins_anew_gives_back_what_it_took_over(
    study: Study, client: mlflow.MlflowClient
) -> None:
    study.suggest("0000", batch_size=16)
    exploited(study, "0000", 2, {"batch_size": 32})
    study.upload()
    study.retry("0000", fresh=True)
    study.upload()
    [trial] = study.read(completed_only=False).trials
    assert trial.config == {"batch_size": 16}
    assert "rayfold.exploits" not in client.get_run(trial.run_id).data.tags
    assert points(client, trial.run_id, "population/batch_size") == []


def test_a_trial_that_is_tried_again_keeps_what_it_took_over(
    study: Study, client: mlflow.MlflowClient
) -> None:
    study.suggest("0000", batch_size=16)
    exploited(study, "0000", 2, {"batch_size": 32})
    study.end("0000", "failed", error=TRACEBACK)
    study.retry("0000", fresh=False)
    study.upload()
    study.upload()
    [trial] = study.read(completed_only=False).trials
    assert trial.config == {"batch_size": 32}
    assert points(client, trial.run_id, "population/batch_size") == [(2, 32.0)]
    run = client.get_run(trial.run_id)
    assert run.data.params["batch_size"] == "16"
    assert run.data.tags["rayfold.donor"] == "0001"


def test_a_trial_that_was_deleted_is_not_logged_when_it_is_tried_again(
    study: Study, client: mlflow.MlflowClient
) -> None:
    study.suggest("0000")
    study.end("0000", "failed", error=TRACEBACK)
    study.upload()
    [trial] = study.read(completed_only=False).trials
    client.delete_run(trial.run_id)
    study.retry("0000", fresh=True)
    study.end("0000", score=1.0)
    study.upload()
    assert study.read(completed_only=False).trials == ()


def test_a_trial_deleted_in_mlflow_stays_deleted(
    study: Study, client: mlflow.MlflowClient
) -> None:
    study.complete("0000")
    study.complete("0001")
    study.upload()
    client.delete_run(study.read().trials[0].run_id)
    study.upload()
    assert [trial.id for trial in study.read().trials] == ["0001"]


def test_a_fold_without_its_files_is_told_and_not_listed(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    study.complete("0000")
    next(study.folder.rglob("fold_1/weights.safetensors")).unlink()
    study.upload()
    assert study.read().trials[0].folds == (0,)
    assert "fold_1/weights.safetensors of trial 0000 is missing" in caplog.text


def test_a_configuration_longer_than_a_tag_comes_back_exactly() -> None:
    config = {f"model.parameter_{i}": 0.1 + i for i in range(400)}
    tags = config_to_tags(config)
    assert len(tags) > 2
    assert max(map(len, tags.values())) <= 5000
    assert config_from_tags({**tags, "mlflow.user": "someone"}) == config


def test_metric_names_that_mlflow_refuses_are_made_to_fit(
    study: Study, client: mlflow.MlflowClient
) -> None:
    study.suggest("0000", **{f"model.p{i}": i for i in range(150)})
    entry = {"val_f1@macro": 0.5, "finished_at": T0}
    result = {"fold": 0, "score": 0.5, "history": [entry] * 1200, "started_at": T0}
    result |= {"finished_at": T0, "busy_seconds": 0.0, "weights": "w", "predictions": "p"}
    study.journal.append("fold", trial="0000", result=result)
    study.end("0000", score=0.5)
    study.upload()
    run = study.read().trials[0].run_id
    assert len(client.get_metric_history(run, "fold_0/val_f1_macro")) == 1200
    assert len(client.get_run(run).data.params) == 150


def test_the_experiment_keeps_artifacts_in_the_storage(
    study: Study, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "my experiment")
    study.upload()
    assert client.get_experiment_by_name("rayfold") is None
    found = client.get_experiment(experiment(client, "my experiment"))
    assert found.artifact_location == (study.storage / "artifacts").as_uri()
    assert list(study.storage.glob("artifacts/*/artifacts/study.json"))


def test_an_unknown_name_is_told_with_the_nearest_and_where(study: Study) -> None:
    study.upload()
    with pytest.raises(
        TrackingError,
        match=r"MLflow at sqlite:///\S+ store/mlflow.db holds no study 'digit' in its experiment "
        r"'rayfold' \(did you mean 'digits'\?\); it holds digits",
    ):
        read_study("digit", storage=study.storage)


def test_of_several_with_one_name_the_newest_is_read_and_ids_choose(
    study: Study, storage: Path
) -> None:
    second = Study(storage, id_="b" * 32)
    study.upload()
    second.upload()
    second.journal.close()
    assert [found.id[0] for found in list_studies(storage=storage)] == ["a", "b"]
    assert study.read().id == "b" * 32
    assert read_study("a" * 32, storage=storage).id == "a" * 32


def test_reading_needs_no_study_folder(study: Study) -> None:
    study.complete("0000")
    study.upload()
    shutil.rmtree(study.folder)
    [trial] = study.read().trials
    assert trial.weights(0).is_file()


def test_copies_go_with_the_study_that_was_read(study: Study) -> None:
    study.complete("0000")
    study.upload()
    logged = study.read()
    file = logged.trials[0].weights(0)
    assert file.is_file()
    del logged
    assert not file.exists()


def test_an_artifact_that_is_gone_is_told_with_its_trial(study: Study) -> None:
    study.complete("0000")
    study.upload()
    shutil.rmtree(study.storage / "artifacts")
    with pytest.raises(TrackingError, match=r"study\.json of study digits cannot be fetched"):
        study.read()


def test_a_description_that_cannot_be_read_is_named(study: Study) -> None:
    study.upload()
    [file] = study.storage.glob("artifacts/*/artifacts/study.json")
    file.write_text('{"task": "classification"}')
    with pytest.raises(TrackingError, match=r"study\.json of study digits is no description of"):
        study.read()
    assert list_descriptions(storage=study.storage) == ()


def test_more_runs_than_a_page_are_all_found(study: Study, client: mlflow.MlflowClient) -> None:
    for number in range(7):
        study.suggest(f"{number:04}")
    study.upload()
    found = search_runs(client, experiment(client), {"rayfold.kind": "trial"}, page_size=2)
    trials = sorted(run.data.tags["rayfold.trial"] for run in found)
    assert trials == [f"{number:04}" for number in range(7)]


def test_a_store_that_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"no MLflow store at \S+mlflow.db; run a study"):
        read_study("digits", uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_store_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database at all, but long enough to be read")
    with pytest.raises(
        StoreError, match=r"mlflow\.db is no SQLite database .*; move it"
    ) as raised:
        read_study("digits", uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["text", "folder", "cut short"])
def test_an_upload_to_what_is_no_database_ends_at_once(
    study: Study, storage: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What waiting does not mend is not waited for: MLflow itself would try for 100 s."""
    file = storage / "mlflow.db"
    whole = file.read_bytes()
    file.unlink()
    if kind == "folder":
        file.mkdir()
    else:
        file.write_bytes(whole[:3000] if kind == "cut short" else b"no database" * 100)
    uploader = study.uploader().start()
    uploader._thread.join(TIMEOUT_S)
    assert not uploader._thread.is_alive()
    assert not uploader.finish(TIMEOUT_S)
    [line] = [record.getMessage() for record in caplog.records if "rayfold" in record.name]
    assert f"{file} is " in line
    assert "move it away" in line
    with pytest.raises(StoreError, match="move it away"):
        check_store(tracking_uri(storage))


def test_a_deleted_experiment_is_told_as_that_with_the_way_back(
    study: Study,
    storage: Path,
    client: mlflow.MlflowClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    study.complete("0000")
    study.upload()
    experiment = client.get_experiment_by_name("rayfold")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    caplog.clear()
    assert not study.uploader().start().finish(TIMEOUT_S)
    [line] = [record.getMessage() for record in caplog.records if "uploader" in record.name]
    assert line.startswith("MLflow's experiment 'rayfold' was deleted in sqlite:///")
    assert f"mlflow experiments restore -x {experiment.experiment_id}'" in line
    with pytest.raises(StoreError, match="was deleted"):
        study.read()
    client.restore_experiment(experiment.experiment_id)
    study.upload()
    assert len(study.read().trials) == 1


@pytest.mark.parametrize("name", ["a%20b", "a b", "a#b?c", "ünï", "a+b", "50%", "a&b=c;d"])
def test_whatever_the_storage_is_called_everything_lies_in_it(
    tmp_path: Path, empty_store: Path, name: str
) -> None:
    """And nothing beside it."""
    storage = tmp_path / "all" / name
    storage.mkdir(parents=True)
    shutil.copy(empty_store, storage / "mlflow.db")
    study = Study(storage)
    study.complete("0000")
    study.upload()
    [trial] = study.read().trials
    assert load_file(trial.weights(1))["weight"].tolist() == [1.0, 1.0, 1.0]
    assert [place.name for place in (tmp_path / "all").iterdir()] == [name]
    assert sqlite_file(tracking_uri(storage)) == storage / "mlflow.db"
    assert list((storage / "artifacts").rglob("weights.safetensors"))


def test_passwords_in_uris_stay_out_of_messages() -> None:
    error = ConnectionError("http://me:secret@tracking.org:80/api?to=x@y failed\nmore")
    assert describe(error) == "http://tracking.org:80/api?to=x@y failed"


class Told(logging.Handler):
    """Collects messages, and says when one holds a text."""

    def __init__(self, text: str):
        super().__init__()
        self.text, self.seen, self.messages = text, threading.Event(), list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        if self.text in record.getMessage():
            self.seen.set()


def test_an_outage_and_its_end_are_told_once_each(study: Study, storage: Path) -> None:
    """The store's folder is a plain file at first."""
    study.complete("0000")
    place = storage / "elsewhere"
    place.write_text("in the way")
    told = Told("out of reach")
    logger = logging.getLogger("rayfold.tracking.uploader")
    logger.addHandler(told)
    try:
        uploader = study.uploader(f"sqlite:///{place / 'mlflow.db'}").start()
        assert told.seen.wait(TIMEOUT_S)
        place.unlink()
        place.mkdir()
        shutil.move(storage / "mlflow.db", place / "mlflow.db")
        assert uploader.finish(TIMEOUT_S)
    finally:
        logger.removeHandler(told)
    lost, back = (line for line in told.messages if not line.startswith("Waiting for MLflow"))
    assert "mlflow.db is out of reach (" in lost
    assert back.endswith("mlflow.db is back; all is uploaded.")
    [trial] = read_study("digits", uri=f"sqlite:///{place / 'mlflow.db'}").trials
    assert trial.folds == (0, 1)


def test_a_wait_for_the_store_is_told_with_its_length(study: Study, storage: Path) -> None:
    (storage / "elsewhere").write_text("in the way")
    told = Told("out of reach")
    logger = logging.getLogger("rayfold.tracking.uploader")
    logger.addHandler(told)
    try:
        uploader = study.uploader(f"sqlite:///{storage / 'elsewhere' / 'mlflow.db'}").start()
        assert told.seen.wait(TIMEOUT_S)
        assert not uploader.finish(2.5)
    finally:
        logger.removeHandler(told)
    waiting = [text for text in told.messages if text.startswith("Waiting for MLflow at ")]
    assert len(waiting) == 1
    assert ", which is out of reach, to take the rest, for 2 s at most" in waiting[0]


def test_finish_gives_up_when_the_store_stays_away(study: Study, storage: Path) -> None:
    (storage / "elsewhere").write_text("in the way")
    uploader = study.uploader(f"sqlite:///{storage / 'elsewhere' / 'mlflow.db'}").start()
    assert not uploader.finish(0.01)


def test_a_new_store_is_made_quietly_and_importing_rayfold_imports_no_mlflow(
    tmp_path: Path,
) -> None:
    code = """
import json
import sys
from pathlib import Path
from rayfold.journal import Journal
from rayfold.tracking import Uploader, read_study, tracking_uri
assert "mlflow" not in sys.modules
storage = Path(sys.argv[1])
with Journal.open(storage / "s" / "journal.jsonl") as journal:
    journal.append("study", name="digits", id="c" * 32, description=json.loads(sys.argv[2]))
    uri = tracking_uri(storage)
    assert Uploader(storage / "s", uri, storage / "artifacts").start().finish(300)
assert read_study("digits", storage=storage).description.data.task == "regression"
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    description = json.dumps(described(task="regression"))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "new"), description],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    told = [line for line in done.stderr.splitlines() if not line.startswith("Waiting for MLflow")]
    assert (done.returncode, done.stdout, told) == (0, "", [])  # a busy machine takes long
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_study_json_holds_the_description(study: Study) -> None:
    study.upload()
    [file] = study.storage.glob("artifacts/*/artifacts/study.json")
    assert json.loads(file.read_text())["data_digest"] == "d" * 64


def exploited(study: Study, trial: str, epoch: int, config: dict[str, Any]) -> None:
    study.journal.append(
        "exploit",
        trial=trial,
        donor="0001",
        epoch=epoch,
        config=config,
        changed=config,
        scores=[[0, 0.5]],
        states=["a" * 64],
        restart=False,
    )


def test_what_a_trial_has_taken_over_is_in_tags_and_metrics(
    study: Study, client: mlflow.MlflowClient
) -> None:
    """Its parameters stay; its configuration is what its weights belong to, and shorter."""
    study.suggest("0000", **{"model.name": "x" * 6000, "batch_size": 16})
    study.upload()
    exploited(study, "0000", 2, {"model.name": "mlp", "batch_size": 32})
    exploited(study, "0000", 4, {"model.name": "mlp", "batch_size": 64})
    study.upload()
    study.upload()
    [trial] = study.read(completed_only=False).trials
    assert trial.config == {"model.name": "mlp", "batch_size": 64}
    run = client.get_run(trial.run_id)
    assert run.data.params["batch_size"] == "16"
    assert run.data.tags["rayfold.donor"] == "0001"
    taken = json.loads(run.data.tags["rayfold.exploits"])
    assert [(item["epoch"], item["changed"]["batch_size"]) for item in taken] == [(2, 32), (4, 64)]
    points = client.get_metric_history(trial.run_id, "population/batch_size")
    assert [(point.step, point.value) for point in points] == [(2, 32.0), (4, 64.0)]


def test_the_newest_of_very_many_exploits_are_in_the_tag(
    study: Study, client: mlflow.MlflowClient
) -> None:
    study.suggest("0000", batch_size=16)
    for epoch in range(1, 100):
        exploited(study, "0000", epoch, {"batch_size": epoch})
    study.upload()
    [trial] = study.read(completed_only=False).trials
    taken = json.loads(client.get_run(trial.run_id).data.tags["rayfold.exploits"])
    assert [item["epoch"] for item in taken] == list(range(100 - len(taken), 100))
    assert 10 < len(taken) < 99

"""Reading studies and trials back from MLflow, and from nothing else."""

import json
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rayfold.description import StudyDescription
from rayfold.errors import RecipeError, SpaceError, TrackingError, did_you_mean
from rayfold.results import Config, mean_of_known
from rayfold.storage import storage_folder
from rayfold.study_folder import SEEN_ROWS
from rayfold.tracking import tags as tag
from rayfold.tracking.store import (
    describe,
    experiment_name,
    find_experiment,
    open_store,
    search_runs,
    sqlite_file,
    tracking_uri,
    without_password,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class _Downloads:
    """Artifacts in a temporary folder that is removed with the last one who knows it."""

    def __init__(self, client: "MlflowClient"):
        self._client = client
        self._folder = tempfile.mkdtemp(prefix="rayfold-")
        self._fetched: dict[tuple[str, str], Path] = {}
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def fetch(self, run_id: str, artifact: str, *, what: str) -> Path:
        """Return the path of a copy of an artifact, fetched once."""
        key = (run_id, artifact)
        if key not in self._fetched:
            folder = tempfile.mkdtemp(dir=self._folder)
            try:
                self._fetched[key] = Path(
                    self._client.download_artifacts(run_id, artifact, folder)
                )
            except Exception as error:
                raise TrackingError(
                    f"{artifact} of {what} cannot be fetched from MLflow "
                    f"({describe(error)}); wait until the study is uploaded, or run it again."
                ) from error
        return self._fetched[key]


@dataclass(frozen=True, kw_only=True)
class LoggedTrial:
    """A trial as MLflow holds it.

    Attributes:
        run_id: MLflow's name of its run.
        id: Name within the study.
        config: The configuration.
        status: ``"completed"``, ``"stopped"``, ``"failed"`` or ``"running"``.
        score: Mean of the folds' scores; None while there is none.
        standard_error: Standard error of that mean; None with fewer than two folds.
        folds: Indices of the folds whose weights and predictions are there.
        data_digest: Digest of the data that it was trained on.
        fold_digest: Digest of the folds that it was validated with.
        code: Digest of the code that it was trained with; empty if that is not known.
        metrics: The last value of each metric of its run, ``"fold_0/val_loss"`` say.
        error: What went wrong, in a line with file and line of the user's code; None unless it
            failed.
    """

    run_id: str
    id: str
    config: Config
    status: str
    score: float | None
    standard_error: float | None
    folds: tuple[int, ...]
    data_digest: str
    fold_digest: str
    code: str = ""
    metrics: Mapping[str, float] = field(repr=False, default_factory=dict)
    error: str | None = None
    _downloads: _Downloads = field(repr=False, compare=False)

    def measured(self, metric: str) -> tuple[float, float | None] | None:
        """Return the mean of a metric over its folds, and its standard error.

        Args:
            metric: A name of the folds' histories, ``"val_accuracy"``; its value after the last
                epoch counts.

        Returns:
            None if no fold is logged, or one of them has no such value.
        """
        return mean_of_known([self.metrics.get(f"fold_{fold}/{metric}") for fold in self.folds])

    def weights(self, fold: int) -> Path:
        """Return a copy of a fold's weights: the model's state dict as safetensors.

        Raises:
            TrackingError: If the artifact is not there.
        """
        return self._fetch(fold, "weights")

    def predictions(self, fold: int) -> Path:
        """Return a copy of a fold's out-of-fold predictions as safetensors.

        It holds ``rows`` (int64, shape ``(n,)``), ``predictions`` (float32, shape
        ``(n, outputs)``) and ``labels`` (int64, shape ``(n,)``, or float32, ``(n, outputs)``).

        Raises:
            TrackingError: If the artifact is not there.
        """
        return self._fetch(fold, "predictions")

    def _fetch(self, fold: int, name: str) -> Path:
        artifact = f"fold_{fold}/{name}.safetensors"
        return self._downloads.fetch(self.run_id, artifact, what=f"trial {self.id}")


@dataclass(frozen=True, kw_only=True)
class LoggedStudy:
    """A study as MLflow holds it.

    Attributes:
        name: Name of the study.
        id: Its own identity: two studies may share a name.
        run_id: MLflow's name of the parent run.
        description: What it is: model, data, folds, settings and so on.
        trials: Its trials, in the order of suggestion.
    """

    name: str
    id: str
    run_id: str
    description: StudyDescription
    trials: tuple[LoggedTrial, ...]
    _downloads: _Downloads = field(repr=False, compare=False)

    def seen_rows(self) -> Path:
        """Return a copy of the record of which rows its models have seen (``data.SeenRows``).

        Raises:
            TrackingError: If the artifact is not there.
        """
        return self._downloads.fetch(self.run_id, SEEN_ROWS, what=f"study {self.name}")


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """A study's parent run, as a line of a list.

    Attributes:
        name: Name of the study.
        id: Its own identity.
        run_id: MLflow's name of the parent run.
        status: MLflow's status of the run: ``"RUNNING"``, ``"FINISHED"`` or ``"KILLED"``.
        started_at: When it was first run, Unix seconds.
    """

    name: str
    id: str
    run_id: str
    status: str
    started_at: float


def list_studies(*, uri: str | None = None, storage: Path | None = None) -> tuple[StudyRun, ...]:
    """Return the studies that MLflow holds, the oldest first.

    Args:
        uri: MLflow's tracking URI; None: ``$MLFLOW_TRACKING_URI``, or the store in ``storage``.
        storage: Folder of the store; None: ``$RAYFOLD_STORAGE`` or ``./rayfold-store``.

    Raises:
        TrackingError: If there is no store, or it cannot be reached.
    """
    uri = uri or tracking_uri(storage_folder(storage))
    with _errors_told(uri):
        client = _open_existing(uri)
        return tuple(_list_studies(client, _experiment_id(client)))


def list_descriptions(
    *, uri: str | None = None, storage: Path | None = None
) -> tuple[tuple[StudyRun, StudyDescription], ...]:
    """Return the studies that MLflow holds, each with its description, the oldest first.

    One whose description is not uploaded yet, is gone or cannot be read is left out.

    Args:
        uri: MLflow's tracking URI; None: ``$MLFLOW_TRACKING_URI``, or the store in ``storage``.
        storage: Folder of the store; None: ``$RAYFOLD_STORAGE`` or ``./rayfold-store``.

    Raises:
        TrackingError: If there is no store, or it cannot be reached.
    """
    uri = uri or tracking_uri(storage_folder(storage))
    with _errors_told(uri):
        client = _open_existing(uri)
        downloads = _Downloads(client)
        described = []
        for run in _list_studies(client, _experiment_id(client)):
            with suppress(TrackingError):
                described.append((run, _description(run, downloads)))
        return tuple(described)


def _description(run: StudyRun, downloads: _Downloads) -> StudyDescription:
    """Return a study's description."""
    file = downloads.fetch(run.run_id, "study.json", what=f"study {run.name}")
    try:
        return StudyDescription.from_dict(json.loads(file.read_text()))
    except (KeyError, TypeError, ValueError, RecipeError, SpaceError) as error:
        raise TrackingError(
            f"study.json of study {run.name} is no description of a study ({describe(error)}); "
            "delete the study's run in MLflow, and run the study again."
        ) from error


def read_study(
    name: str,
    *,
    uri: str | None = None,
    storage: Path | None = None,
    completed_only: bool = True,
) -> LoggedStudy:
    """Read a study and its trials.

    Args:
        name: The study's name or its id; of several with one name, the newest.
        uri: MLflow's tracking URI; None: ``$MLFLOW_TRACKING_URI``, or the store in ``storage``.
        storage: Folder of the store; None: ``$RAYFOLD_STORAGE`` or ``./rayfold-store``.
        completed_only: Leave out the trials that are running, failed or were stopped.

    Raises:
        TrackingError: If there is no such study, or the store cannot be reached.
    """
    uri = uri or tracking_uri(storage_folder(storage))
    with _errors_told(uri):
        client = _open_existing(uri)
        experiment = _experiment_id(client)
        studies = list(_list_studies(client, experiment))
        found = [study for study in studies if name in (study.name, study.id)]
        if not found:
            known = sorted({study.name for study in studies})
            raise TrackingError(
                f"MLflow at {without_password(uri)} holds no study {name!r} in its experiment "
                f"{experiment_name()!r}{did_you_mean(name, known)}; it holds "
                f"{', '.join(known) or 'no study at all'}."
            )
        study = found[-1]
        downloads = _Downloads(client)
        return LoggedStudy(
            name=study.name,
            id=study.id,
            run_id=study.run_id,
            description=_description(study, downloads),
            _downloads=downloads,
            trials=tuple(
                trial
                for trial in _read_trials(client, experiment, study.id, downloads)
                if trial.status == "completed" or not completed_only
            ),
        )


def _list_studies(client: "MlflowClient", experiment: str | None) -> Iterator[StudyRun]:
    if experiment is None:
        return
    for run in search_runs(client, experiment, {tag.KIND: "study"}):
        yield StudyRun(
            name=run.data.tags[tag.STUDY],
            id=run.data.tags[tag.STUDY_ID],
            run_id=run.info.run_id,
            status=run.info.status,
            started_at=run.info.start_time / 1000,
        )


def _read_trials(
    client: "MlflowClient", experiment: str | None, study_id: str, downloads: _Downloads
) -> list[LoggedTrial]:
    """Return a study's trials by id; of two runs of one trial, the first counts."""
    trials: dict[str, LoggedTrial] = {}
    if experiment is not None:
        wanted = {tag.KIND: "trial", tag.STUDY_ID: study_id}
        for run in search_runs(client, experiment, wanted):
            trial = _trial(run, downloads)
            trials.setdefault(trial.id, trial)
    return sorted(trials.values(), key=lambda trial: (len(trial.id), trial.id))


def _trial(run: "Run", downloads: _Downloads) -> LoggedTrial:
    tags = run.data.tags
    folds = json.loads(tags.get(tag.FOLDS, "{}"))
    return LoggedTrial(
        run_id=run.info.run_id,
        id=tags[tag.TRIAL],
        config=tag.config_from_tags(tags),
        status=tags[tag.STATUS],
        score=run.data.metrics.get("score"),
        standard_error=run.data.metrics.get("standard_error"),
        folds=tuple(sorted(int(fold) for fold in folds)),
        data_digest=tags.get(tag.DATA_DIGEST, ""),
        fold_digest=tags.get(tag.FOLD_DIGEST, ""),
        code=tags.get(tag.CODE, ""),
        metrics=dict(run.data.metrics),
        error=tags.get(tag.ERROR),
        _downloads=downloads,
    )


def _open_existing(uri: str) -> "MlflowClient":
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        raise TrackingError(
            f"no MLflow store at {file}; run a study first, or say where it is with storage=, "
            "RAYFOLD_STORAGE or MLFLOW_TRACKING_URI."
        )
    return open_store(uri)


def _experiment_id(client: "MlflowClient") -> str | None:
    return find_experiment(client, experiment_name())


@contextmanager
def _errors_told(uri: str) -> Iterator[None]:
    """Turn what the store's libraries raise into one line."""
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:
        raise TrackingError(
            f"MLflow at {without_password(uri)} cannot be read: {describe(error)}; "
            "check MLFLOW_TRACKING_URI and that the store can be reached."
        ) from error

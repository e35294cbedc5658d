"""A study's runs in MLflow, brought up to date entry by entry of the journal.

The parent run is the study, a child run is a trial, and the folds are metrics and artifacts of
the trial's run. The tags of a run say what it holds already: applying an entry a second time,
from another process too, adds nothing.
"""

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayfold import tracebacks
from rayfold.description import StudyDescription
from rayfold.events import (
    CodeChanged,
    Event,
    Exploited,
    FoldTrained,
    Retried,
    RunState,
    State,
    StudyBegun,
    Suggested,
    TrialEnded,
)
from rayfold.journal import Entry
from rayfold.results import Exploit, FoldResult
from rayfold.study_folder import StudyFolder
from rayfold.tracking import tags as tag
from rayfold.tracking.points import history_metrics, mean, metric, milliseconds
from rayfold.tracking.store import describe, is_refusal, open_experiment, search_runs
from rayfold.tracking.trial_run import RUN_STATUS, TrialRun
from rayfold.user_code import CodeRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

logger = logging.getLogger(__name__)

_STUDY_STATUS = {
    "started": "RUNNING",
    "interrupted": "KILLED",
    "out_of_time": "KILLED",
    "finished": "FINISHED",
}
_BATCH = {"metrics": 1000, "params": 100, "tags": 100}
_MAX_PARAM_LENGTH = 6000


class StudyMirror:
    """The runs of one study.

    Args:
        client: The store.
        experiment: Name of the experiment; created if it is missing.
        artifacts: Where a new experiment keeps artifacts if no server decides it.
        folder: The study's folder: the files that fold results name are relative to it.
    """

    def __init__(self, client: "MlflowClient", experiment: str, artifacts: Path, folder: Path):
        self._client = client
        self._experiment_id = open_experiment(client, experiment, artifacts)
        self._folder = folder
        self._study: StudyBegun | None = None
        self._parent = ""
        self._parent_status = ""
        self._children: dict[str, TrialRun] = {}
        self._state: tuple[State, float] | None = None
        self._refused: set[Any] = set()

    def apply(self, entries: Iterable[Entry]) -> None:
        """Log the entries, given in the order of the journal and from its first one on."""
        for entry in entries:
            if entry.fields.get("trial") in self._refused:
                continue
            try:
                self._apply(entry.read(), entry.time)
            except Exception as error:
                if entry.event == StudyBegun.event or not is_refusal(error):
                    raise
                self._leave_out(entry, error)
        self._update_statuses()

    def _leave_out(self, entry: Entry, error: Exception) -> None:
        """Go on without an entry that the store refuses; without its beginning goes a trial."""
        trial = entry.fields.get("trial")
        if entry.event == Suggested.event:
            self._refused.add(trial)
        logger.warning(
            "MLflow refuses the %s%s (%s); it is left out there, and is in the journal.",
            entry.event,
            f" of trial {trial}" if trial else "",
            describe(error),
        )

    def _apply(self, event: Event | None, at: float) -> None:
        if isinstance(event, StudyBegun):
            self._apply_study(event, at)
        elif isinstance(event, CodeChanged):
            self._log_code(event.code)
        elif isinstance(event, Suggested):
            self._apply_suggestion(event, at)
        elif isinstance(event, Retried):
            self._apply_retry(event, at)
        elif isinstance(event, Exploited):
            self._apply_exploit(event.exploit, at)
        elif isinstance(event, FoldTrained):
            self._apply_fold(event)
        elif isinstance(event, TrialEnded):
            self._apply_trial(event, at)
        elif isinstance(event, RunState):
            self._state = event.state, at

    def _apply_study(self, event: StudyBegun, at: float) -> None:
        self._study = event
        if not self._parent:
            self._find_runs()
        if not self._parent:
            run = self._client.create_run(
                self._experiment_id,
                start_time=milliseconds(at),
                run_name=event.name,
                tags=self._common_tags("study"),
            )
            self._parent, self._parent_status = run.info.run_id, run.info.status
        description = event.description
        self._log(self._parent, tags=_description_tags(description))
        self._client.log_dict(self._parent, description.to_dict(), "study.json")
        seen_rows = StudyFolder(self._folder).seen_rows
        if seen_rows.is_file():  # studies of old have none
            self._client.log_artifact(self._parent, str(seen_rows))
        if description.code is not None:
            self._log_code(description.code)
        if description.data.source_code is not None:
            self._log_texts(description.data.source_code)

    def _log_code(self, code: CodeRecord) -> None:
        """Log the texts that trials are trained with from now on, and their digest."""
        if code.digest:
            self._log_texts(code)
            self._log(self._parent, tags={tag.CODE: code.digest})

    def _log_texts(self, code: CodeRecord) -> None:
        texts = StudyFolder(self._folder).code(code.digest)
        if texts.is_dir():
            name = str(texts.relative_to(self._folder))
            self._client.log_artifacts(self._parent, str(texts), name)

    def _apply_suggestion(self, event: Suggested, at: float) -> None:
        trial, config = event.trial, event.config
        tags = {
            **self._common_tags("trial"),
            tag.PARENT: self._parent,
            tag.TRIAL: trial,
            tag.STATUS: "running",
            **({tag.CODE: event.code} if event.code else {}),
            **({tag.INITIAL_WEIGHTS: "none"} if event.warm is False else {}),
        }
        if trial not in self._children:
            run_id = self._create_trial_run(tags | tag.config_to_tags(config), at)
            self._children[trial] = TrialRun(run_id=run_id)
        child = self._children[trial]
        child.started_at, child.suggested, child.first_tags = at, config, tags
        child.forget()
        child.attempt_read = 0
        self._log_start(child)

    def _apply_retry(self, event: Retried, at: float) -> None:
        """Begin a run for a trial that is tried again; the one before is deleted.

        MLflow cannot take metrics out of a run, so that two tries in one would be mixed up.
        """
        child = self._children[event.trial]
        child.attempt_read += 1
        child.started_at = at
        child.first_tags[tag.CODE] = event.code
        if event.fresh:
            child.forget()
        if child.deleted:
            return
        if child.attempt_read > child.attempt:
            before = child.run_id
            child.run_id = self._create_trial_run(
                {
                    **child.first_tags,
                    **tag.config_to_tags(child.config),
                    **child.exploit_tags,
                    tag.ATTEMPT: str(child.attempt_read),
                },
                at,
            )
            child.run_status, child.params, child.settled = "RUNNING", frozenset(), False
            child.uploaded.clear()
            child.attempt = child.attempt_read
            self._client.delete_run(before)
        self._log_start(child)
        for result in child.folds.values():
            self._log_fold(child, result)

    def _create_trial_run(self, tags: Mapping[str, str], time: float) -> str:
        run = self._client.create_run(
            self._experiment_id,
            start_time=milliseconds(time),
            run_name=tags[tag.TRIAL],
            tags=dict(tags),
        )
        run_id: str = run.info.run_id
        return run_id

    def _log_start(self, child: TrialRun) -> None:
        """Log what a trial begins with, unless its run holds that already."""
        if not child.takes_nothing and not child.params.issuperset(child.suggested):
            self._log(child.run_id, metrics=child.exploit_metrics, params=child.suggested)
            child.params = frozenset(child.suggested)

    def _apply_exploit(self, exploit: Exploit, at: float) -> None:
        """Log what a trial has taken over: its parameters cannot change, its tags can."""
        child = self._children[exploit.trial]
        before, child.config = child.config, exploit.config
        child.folds.clear()  # those of the state that it has given up
        child.exploits.append(
            {
                "epoch": exploit.epoch,
                "donor": exploit.donor,
                "changed": dict(exploit.changed),
                "restart": exploit.restart,
            }
        )
        metrics = [
            metric(f"population/{name}", value, at, step=exploit.epoch)
            for name, value in exploit.config.items()
            if not isinstance(value, str)
        ]
        child.exploit_metrics.extend(metrics)
        if child.takes_nothing:
            return
        self._log(
            child.run_id,
            metrics=metrics,
            tags={
                **dict.fromkeys(tag.config_to_tags(before), ""),  # it may have been longer
                **tag.config_to_tags(exploit.config),
                **child.exploit_tags,
            },
        )

    def _apply_fold(self, event: FoldTrained) -> None:
        child = self._children[event.trial]
        child.folds[event.result.fold] = event.result
        self._log_fold(child, event.result)

    def _log_fold(self, child: TrialRun, result: FoldResult) -> None:
        """Log a fold's metrics and files, unless the run holds them already."""
        if child.takes_nothing or child.uploaded.get(result.fold, -math.inf) >= result.finished_at:
            return
        folder = f"fold_{result.fold}"
        paths = (result.weights, result.predictions)
        files = [self._folder / path for path in paths if path is not None]
        missing = [file for file in files if not file.is_file()]
        if missing:
            logger.warning(
                "%s of trial %s is missing; MLflow gets this fold's metrics without its files, "
                "and no ensemble can use the trial.",
                missing[0],
                child.first_tags[tag.TRIAL],
            )
        else:
            for file in files:
                self._client.log_artifact(child.run_id, str(file), folder)
            child.uploaded[result.fold] = result.finished_at
        self._log(
            child.run_id,
            metrics=history_metrics([result], prefix=f"{folder}/"),
            tags={
                tag.FOLDS: json.dumps(dict(sorted(child.uploaded.items()))),
                **({tag.INITIAL_WEIGHTS: str(result.initial)} if result.initial else {}),
            },
        )

    def _apply_trial(self, event: TrialEnded, at: float) -> None:
        child = self._children[event.trial]
        if child.takes_nothing:
            return
        status, error = event.status, event.error
        tags: dict[str, str] = {tag.STATUS: status}
        if error:
            self._client.log_text(child.run_id, error, "error.txt")
            tags[tag.ERROR] = tracebacks.summary(error)[:250]
        self._terminate(child, RUN_STATUS[status], at)
        folds = [child.folds[index] for index in sorted(child.folds)]
        summary = {
            "score": event.score,
            "standard_error": event.standard_error,
            "duration_seconds": at - child.started_at,
            "fold_seconds": mean([fold.finished_at - fold.started_at for fold in folds]),
        }
        metrics = history_metrics(folds) + [
            metric(name, value, at, step=0) for name, value in summary.items() if value is not None
        ]
        self._log(child.run_id, metrics=metrics, tags=tags)  # the tag comes last: all is there
        child.settled = True

    def _update_statuses(self) -> None:
        """Give the parent, and the children without an end, the status of the study's run."""
        if self._state is None or not self._parent:
            return
        state, at = self._state
        wanted = _STUDY_STATUS[state]
        unfinished = "RUNNING" if wanted == "RUNNING" else "KILLED"
        for child in self._children.values():
            if not child.settled and child.run_status != unfinished:
                self._terminate(child, unfinished, at)
        if self._parent_status != wanted:
            self._set_status(self._parent, wanted, at)
            self._parent_status = wanted

    def _terminate(self, child: TrialRun, status: str, time: float) -> None:
        self._set_status(child.run_id, status, time)
        child.run_status = status

    def _set_status(self, run_id: str, status: str, time: float) -> None:
        if status == "RUNNING":
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status, end_time=milliseconds(time))

    @property
    def _begun(self) -> StudyBegun:
        assert self._study is not None  # a journal's first events are of the study itself
        return self._study

    def _find_runs(self) -> None:
        """Find what an earlier uploader logged.

        Of several runs of a trial the one of its newest try counts; of two of the same try, which
        two uploaders at once may leave, the first.
        """
        wanted = {tag.STUDY_ID: self._begun.id}
        for run in search_runs(self._client, self._experiment_id, wanted, deleted=True):
            trial = run.data.tags.get(tag.TRIAL)
            if trial is None and not self._parent:
                if run.info.lifecycle_stage == "deleted":
                    self._client.restore_run(run.info.run_id)
                self._parent, self._parent_status = run.info.run_id, run.info.status
            elif trial is not None:
                self._enter_child(trial, TrialRun.of(run))

    def _enter_child(self, trial: str, found: TrialRun) -> None:
        """Enter a run of a trial; delete that of an earlier try if an uploader died before."""
        known = self._children.setdefault(trial, found)
        if known.attempt != found.attempt:
            old, new = sorted((known, found), key=lambda child: child.attempt)
            self._children[trial] = new
            if not old.deleted:
                self._client.delete_run(old.run_id)

    def _common_tags(self, kind: str) -> dict[str, str]:
        study = self._begun
        return {
            tag.KIND: kind,
            tag.STUDY: study.name,
            tag.STUDY_ID: study.id,
            tag.DATA_DIGEST: study.description.data.digest,
            tag.FOLD_DIGEST: study.description.fold_digest,
        }

    def _log(
        self,
        run_id: str,
        *,
        metrics: Sequence["Metric"] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log in batches that MLflow takes: metrics and parameters first, tags at the end."""
        from mlflow.entities import Param, RunTag

        everything: dict[str, Sequence[Any]] = {
            "metrics": metrics,
            "params": [Param(k, str(v)[:_MAX_PARAM_LENGTH]) for k, v in (params or {}).items()],
            "tags": [RunTag(key, value) for key, value in (tags or {}).items()],
        }
        for kind, values in everything.items():
            for start in range(0, len(values), _BATCH[kind]):
                batch: dict[str, Any] = {kind: values[start : start + _BATCH[kind]]}
                self._client.log_batch(run_id, **batch)


def _description_tags(description: StudyDescription) -> dict[str, str]:
    """Return the parts of a description that people filter runs by."""
    values = description.to_dict()
    names = ("model", "task", "metric", "mode", "data_digest", "fold_digest", "num_folds")
    tags = {f"rayfold.{name}": values[name] for name in names}
    environment = description.environment.items()
    tags |= {f"rayfold.environment.{name}": value for name, value in environment}
    return {
        tag.metric_name(name): str(value)[: tag.MAX_TAG_LENGTH] for name, value in tags.items()
    }

"""The ledger of a study: every suggestion and result, written to the journal first."""

from collections import deque
from collections.abc import Iterable, Sequence

from rayfold.errors import JournalError, RecipeError
from rayfold.events import (
    EpochTrained,
    Exploited,
    FoldTrained,
    GroupReady,
    Retried,
    Suggested,
    TrialEnded,
)
from rayfold.journal import Entry, Journal
from rayfold.results import (
    Config,
    Exploit,
    FoldResult,
    Status,
    Trial,
    TrialResult,
    mean_and_standard_error,
)
from rayfold.schedulers import Decision, Scheduler
from rayfold.search import Searcher
from rayfold.transfer.cold_starts import Beginning, ColdStarts

NO_RESULT = "its time (max_time_per_trial) was up before its first result"
"""Error of a trial that was stopped without a score."""


class Ledger:
    """Connects a searcher and a scheduler to the study's journal.

    Every event is appended to the journal first and then passed to both, in the same order. So a
    replay of the journal rebuilds the same searcher and scheduler.

    Args:
        searcher: A started searcher without any suggestion yet.
        journal: The journal, open for appending.
        num_trials: Largest number of trials, including those of earlier runs.
        scheduler: A started scheduler without any report yet; None lets every trial continue.
        cold_starts: Says which trials begin warm; None if the study has no initial weights.
        code: Digest of the code of trials from now on; empty if unknown.

    Attributes:
        num_trials: Largest number of trials.
        closed: Whether this run gives out no more trials.
    """

    def __init__(
        self,
        searcher: Searcher,
        journal: Journal,
        *,
        num_trials: int,
        scheduler: Scheduler | None = None,
        cold_starts: ColdStarts | None = None,
        code: str = "",
    ) -> None:
        self._searcher, self._journal, self.num_trials = searcher, journal, num_trials
        self._scheduler, self._cold_starts = scheduler, cold_starts
        self.closed, self._code = False, code
        self._suggested: dict[str, tuple[Config, float]] = {}
        self._first_configs: dict[str, Config] = {}
        self._codes: dict[str, str] = {}
        self._fresh_starts: dict[str, int] = {}
        self._beginnings: dict[str, Beginning] = {}
        self._exploits: dict[str, list[Exploit]] = {}
        self._schedules: dict[str, list[tuple[int, Config]]] = {}
        self._folds: dict[str, dict[int, FoldResult]] = {}
        self._epochs: dict[str, tuple[int, dict[int, float]]] = {}
        self._results: dict[str, TrialResult] = {}
        self._queue: deque[str] = deque()

    def replay(self, entries: Iterable[Entry]) -> None:
        """Resume a study at the end of its journal.

        Unfinished trials are given out again before new ones are suggested.

        Raises:
            JournalError: If the searcher does not suggest what the journal says it did.
        """
        for entry in entries:
            event = entry.read()
            if isinstance(event, Suggested):
                self._replay_suggestion(event, entry.time)
            elif isinstance(event, FoldTrained):
                self._enter_fold(event.trial, event.result)
            elif isinstance(event, EpochTrained):
                self._enter_epoch(event.trial, event.epoch, dict(event.scores))
            elif isinstance(event, Exploited):
                self._enter_exploit(event.exploit)
            elif isinstance(event, Retried):
                self._enter_retry(event, entry.time)
            elif isinstance(event, TrialEnded):
                self._book(event, entry.time)
        self._queue_unfinished()

    def retry(self, *, failed: bool = False) -> None:
        """Begin unfinished and failed trials of other code anew.

        Completed and stopped trials stay. Each trial keeps its id and configuration.

        Args:
            failed: Also try failed trials of the same code again; these keep their finished folds.
        """
        for trial in self._suggested:
            before = self._codes[trial]
            changed = bool(self._code and before and before != self._code)
            result = self._results.get(trial)
            if (result is None and changed) or (
                result is not None and result.status == "failed" and (changed or failed)
            ):
                again = Retried(trial=trial, code=self._code or before, fresh=changed)
                self._enter_retry(again, self._journal.record(again).time)
        self._queue_unfinished()

    @property
    def fresh_starts(self) -> dict[str, int]:
        """How often each trial in flight has begun anew; its older files are ignored."""
        return {id_: self._fresh_starts[id_] for id_ in self._queue if id_ in self._fresh_starts}

    def hand_out_again(self) -> list[str]:
        """Queue all unfinished trials again, since their actors are gone; return their ids."""
        self._queue_unfinished()
        return list(self._queue)

    def _queue_unfinished(self) -> None:
        self._queue = deque(id_ for id_ in self._suggested if id_ not in self._results)

    def next_trial(self) -> Trial | None:
        """Return the next trial to run, or None while the searcher waits for results."""
        if self.exhausted:
            return None
        if self._queue:
            id_ = self._queue.popleft()
            lineage = len(self._exploits[id_])
            return self._trial(id_, lineage)
        suggestion = self._searcher.suggest()
        if suggestion is None:
            return None
        beginning = None if self._cold_starts is None else self._cold_starts.next
        event = Suggested(
            trial=suggestion.id,
            config=suggestion.config,
            warm=None if beginning is None else beginning.warm,
            control=None if beginning is None else beginning.control,
            code=self._code,
        )
        self._enter(event, self._journal.record(event).time)
        return self._trial(suggestion.id)

    def _trial(self, id: str, lineage: int = 0) -> Trial:
        beginning = self._beginnings.get(id, Beginning())
        return Trial(
            id=id,
            config=self._suggested[id][0],
            lineage=lineage,
            warm=beginning.warm,
            control=beginning.control,
        )

    @property
    def exhausted(self) -> bool:
        """Whether there will be no further trial."""
        return self.closed or (
            not self._queue
            and (len(self._suggested) >= self.num_trials or self._searcher.finished)
        )

    def close(self) -> None:
        """Give out no more trials in this run; may be called from any thread."""
        self.closed = True

    @property
    def misled(self) -> bool:
        """Whether trials that begin cold are clearly better than those with initial weights."""
        return self._cold_starts is not None and self._cold_starts.misled

    @property
    def results(self) -> list[TrialResult]:
        """Finished trials in the order of their suggestion."""
        return [self._results[id_] for id_ in self._suggested if id_ in self._results]

    @property
    def num_folds_done(self) -> int:
        """How many folds have been trained, over all trials."""
        return sum(len(folds) for folds in self._folds.values())

    def fold_finished(self, trial: str, result: FoldResult) -> Decision:
        """Record one fold; a known one (after a crash) is not written twice.

        Returns:
            Whether the trial continues.
        """
        if result.fold not in self._folds[trial]:
            self._journal.record(FoldTrained(trial=trial, result=result))
        return self._enter_fold(trial, result)

    def epoch_finished(
        self,
        trial: str,
        epoch: int,
        scores: Sequence[tuple[int, float]],
    ) -> Decision:
        """Record an epoch of folds that advance together; a known one is not written twice.

        Args:
            trial: Id of the trial.
            epoch: Number of epochs so far.
            scores: Each fold with its score after that epoch.

        Returns:
            Whether the trial continues.
        """
        if epoch > self._epochs.get(trial, (0, {}))[0]:
            self._journal.record(EpochTrained(trial=trial, epoch=epoch, scores=scores))
        return self._enter_epoch(trial, epoch, dict(scores))

    def exploited(self, exploit: Exploit) -> None:
        """Record that a trial of a population continues from another trial's state."""
        self._journal.record(Exploited(exploit))
        self._enter_exploit(exploit)

    def trial_finished(self, trial: str, status: Status, *, error: str | None = None) -> None:
        """Record the end of a trial, and pass it to the searcher and the scheduler.

        Its score is the mean over its finished folds; without any, the mean after its last epoch.
        """
        scores = self._scores(trial)
        score, standard_error = mean_and_standard_error(scores) if scores else (None, None)
        if status == "stopped" and not scores:
            error = error or NO_RESULT
        event = TrialEnded(
            trial=trial, status=status, score=score, standard_error=standard_error, error=error
        )
        self._book(event, self._journal.record(event).time)

    def group_ready(self, group: int, *, node: str, at: float) -> None:
        """Record when a group was ready, Unix seconds; may be called from any thread."""
        self._journal.record(GroupReady(group=group, node=node, ready_at=at))

    def _replay_suggestion(self, event: Suggested, at: float) -> None:
        try:
            self._searcher.restore(event.config)
        except RecipeError as error:
            raise JournalError(
                f"the searcher no longer suggests what the journal holds as trial {event.trial}; "
                f"resume with the searcher, space and version that began the study, "
                f"or give the study another name."
            ) from error
        self._enter(event, at)

    def _enter(self, event: Suggested, at: float) -> None:
        trial, config = event.trial, event.config
        self._suggested[trial] = (config, at)
        self._first_configs[trial] = config
        self._codes[trial] = event.code
        if self._cold_starts is not None and event.warm is not None:
            beginning = Beginning(event.warm, event.control)
            self._beginnings[trial] = beginning
            self._cold_starts.note(beginning)
        self._folds[trial] = {}
        self._exploits[trial], self._schedules[trial] = [], [(0, config)]

    def _enter_retry(self, event: Retried, at: float) -> None:
        """Open a trial again; if its code differs, forget everything it had."""
        trial = event.trial
        self._codes[trial] = event.code
        if self._results.pop(trial, None) is not None:
            self._searcher.reopen(trial)
            if self._scheduler is not None:
                self._scheduler.reopen(trial)
        if event.fresh:
            config = self._first_configs[trial]
            self._fresh_starts[trial] = self._fresh_starts.get(trial, 0) + 1
            self._folds[trial], self._exploits[trial] = {}, []
            self._schedules[trial] = [(0, config)]
            self._epochs.pop(trial, None)
            self._suggested[trial] = (config, at)
        else:
            self._suggested[trial] = (self._suggested[trial][0], at)

    def _enter_exploit(self, exploit: Exploit) -> None:
        """Forget the trial's history; the donor's history counts from now on."""
        trial, epoch = exploit.trial, exploit.epoch
        self._suggested[trial] = exploit.config, self._suggested[trial][1]
        self._exploits[trial].append(exploit)
        past = [change for change in self._schedules[exploit.donor] if change[0] < epoch]
        self._schedules[trial] = [*past, (epoch, exploit.config)]
        self._folds[trial] = {}
        self._epochs[trial] = epoch, dict(exploit.scores)

    def _enter_fold(self, trial: str, result: FoldResult) -> Decision:
        folds = self._folds[trial]
        folds[result.fold] = result
        if self._scheduler is None or self._scheduler.fold_order == "together":
            return "go on"
        scores = {fold: folds[fold].score for fold in sorted(folds)}
        return self._scheduler.report(trial, scores, epoch=len(result.history))

    def _enter_epoch(self, trial: str, epoch: int, scores: dict[int, float]) -> Decision:
        if epoch > self._epochs.get(trial, (0, {}))[0]:
            self._epochs[trial] = epoch, scores
        if self._scheduler is None:
            return "go on"
        return self._scheduler.report(trial, scores, epoch=epoch)

    def _scores(self, trial: str) -> list[float]:
        folds = {number: fold.score for number, fold in self._folds[trial].items()}
        _, of_epoch = self._epochs.get(trial, (0, {}))
        return [score for _, score in sorted((folds or of_epoch).items())]

    def _book(self, event: TrialEnded, at: float) -> None:
        trial = event.trial
        config, suggested_at = self._suggested[trial]
        folds = tuple(fold for _, fold in sorted(self._folds[trial].items()))
        self._results[trial] = TrialResult(
            id=trial,
            config=config,
            status=event.status,
            score=event.score,
            standard_error=event.standard_error,
            folds=folds,
            error=event.error,
            started_at=suggested_at,
            finished_at=at,
            exploits=tuple(self._exploits[trial]),
            schedule=tuple(self._schedules[trial]) if len(self._schedules[trial]) > 1 else (),
            warm=self._beginnings[trial].warm if trial in self._beginnings else None,
        )
        self._compare_starts(trial)
        if event.status == "failed" or event.score is None:
            self._searcher.observe(trial, failed=True)
        else:
            self._searcher.observe(
                trial,
                score=event.score,
                standard_error=event.standard_error,
                num_folds=len(self._scores(trial)),
            )
        if self._scheduler is not None:
            self._scheduler.finished(trial, event.status)

    def _compare_starts(self, trial: str) -> None:
        """Compare a warm trial's control with its other folds, if there are both."""
        control = self._beginnings.get(trial, Beginning()).control
        scores = {fold: result.score for fold, result in self._folds[trial].items()}
        if self._cold_starts is None or control not in scores or len(scores) < 2:
            return
        cold = scores.pop(control)
        self._cold_starts.learn(warm=mean_and_standard_error([*scores.values()])[0], control=cold)

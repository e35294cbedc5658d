from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rayfold.errors import JournalError, RecipeError
from rayfold.journal import Entry, Journal, read_journal
from rayfold.results import Exploit, FoldResult, Trial
from rayfold.schedulers import Halving, Racing, Scheduler
from rayfold.search import Bayesian, Genetic, Random, Searcher
from rayfold.search.base import Observation
from rayfold.space import Choice, Float, SearchSpace
from rayfold.transfer.cold_starts import ColdStarts
from rayfold.tuning.ledger import NO_RESULT, Ledger

SPACE = SearchSpace(
    {
        "optimizer.learning_rate": Float(1e-4, 1.0, log=True),
        "model.dropout": Float(0.0, 0.5),
        "batch_size": Choice(16, 32, 64),
    }
)

Open = Callable[..., Ledger]


def make_genetic() -> Genetic:
    return Genetic(population=4, generations=3, random_seed=3)


def fold(number: int, score: float) -> FoldResult:
    return FoldResult(
        fold=number,
        score=score,
        history=({"val_loss": score, "finished_at": 2.0},),
        started_at=1.0,
        finished_at=2.0,
        busy_seconds=0.5,
        weights=f"fold_{number}/weights.safetensors",
        predictions=f"fold_{number}/predictions.safetensors",
    )


def carry_out(ledger: Ledger, trial: Trial, *scores: float) -> None:
    for number, score in enumerate(scores):
        ledger.fold_finished(trial.id, fold(number, score))
    ledger.trial_finished(trial.id, "completed")


def take(ledger: Ledger) -> Trial:
    trial = ledger.next_trial()
    assert trial is not None
    return trial


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "digits" / "journal.jsonl"


@pytest.fixture
def open_ledger(path: Path) -> Iterator[Open]:
    """Take up the study in the journal, as a new process does: ``open_ledger(searcher)``."""
    journals: list[Journal] = []

    def take_up(
        searcher: Searcher | None = None,
        num_trials: int = 10,
        scheduler: Scheduler | None = None,
        cold_starts: ColdStarts | None = None,
        code: str = "",
    ) -> Ledger:
        for journal in journals:
            journal.close()
        journals.append(Journal.open(path))
        searcher = searcher or make_genetic()
        searcher.start(SPACE, mode="min")
        if scheduler is not None:
            scheduler.start(mode="min", num_folds=2, epochs=4)
        ledger = Ledger(
            searcher,
            journals[-1],
            num_trials=num_trials,
            scheduler=scheduler,
            cold_starts=cold_starts,
            code=code,
        )
        ledger.replay(read_journal(path))
        return ledger

    yield take_up
    for journal in journals:
        journal.close()


def events(path: Path) -> list[tuple[str, str]]:
    return [(entry.event, entry.fields["trial"]) for entry in read_journal(path)]


class Witness(Random):
    """A random search that notes what the journal holds whenever it learns something."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.seen: list[list[tuple[str, str]]] = []

    def _learn(self, observation: Observation) -> None:
        self.seen.append(events(self.path))


class TestWriting:
    def test_a_suggestion_is_in_the_journal_before_it_is_handed_out(
        self, open_ledger: Open, path: Path
    ) -> None:
        trial = take(open_ledger())
        [entry] = read_journal(path)
        assert (entry.event, entry.fields) == (
            "suggestion",
            {"trial": "0000", "config": dict(trial.config)},
        )

    def test_everything_is_in_the_journal_before_the_searcher_hears_of_it(
        self, open_ledger: Open, path: Path
    ) -> None:
        witness = Witness(path)
        ledger = open_ledger(witness)
        carry_out(ledger, take(ledger), 0.25, 0.75)
        expected = ["suggestion", "fold", "fold", "trial"]
        assert witness.seen == [[(event, "0000") for event in expected]]

    def test_a_searcher_never_hears_what_could_not_be_written(
        self, open_ledger: Open, path: Path
    ) -> None:
        witness = Witness(path)
        ledger = open_ledger(witness)
        trial = take(ledger)
        ledger._journal.close()
        with pytest.raises(JournalError, match="is closed"):
            ledger.trial_finished(trial.id, "failed")
        assert (witness.seen, ledger.results) == ([], [])

    def test_a_trials_score_is_the_mean_of_its_folds_in_their_order(
        self, open_ledger: Open, path: Path
    ) -> None:
        """The mean of 0.25 and 0.75 is 0.5; the squared deviations sum to 0.125."""
        ledger = open_ledger()
        trial = take(ledger)
        ledger.fold_finished(trial.id, fold(1, 0.75))
        ledger.fold_finished(trial.id, fold(0, 0.25))
        ledger.trial_finished(trial.id, "completed")
        [result] = ledger.results
        assert (result.score, result.standard_error) == (0.5, 0.25)
        assert [fold.fold for fold in result.folds] == [0, 1]
        entry = read_journal(path)[-1]
        assert entry.fields == {
            "trial": "0000",
            "status": "completed",
            "score": 0.5,
            "standard_error": 0.25,
            "error": None,
        }
        assert result.started_at <= result.finished_at == entry.time

    def test_a_fold_that_is_known_is_not_written_twice(
        self, open_ledger: Open, path: Path
    ) -> None:
        ledger = open_ledger()
        trial = take(ledger)
        for _ in range(2):
            ledger.fold_finished(trial.id, fold(0, 0.5))
        assert ledger.num_folds_done == 1
        assert events(path) == [("suggestion", "0000"), ("fold", "0000")]

    def test_results_stand_in_the_order_of_suggestion(self, open_ledger: Open) -> None:
        ledger = open_ledger()
        first, second = take(ledger), take(ledger)
        carry_out(ledger, second, 0.5)
        carry_out(ledger, first, 0.25)
        assert [result.id for result in ledger.results] == ["0000", "0001"]

    def test_when_a_group_was_ready_is_booked(self, open_ledger: Open, path: Path) -> None:
        open_ledger().group_ready(1, node="a1b2", at=12.5)
        [entry] = read_journal(path)
        assert (entry.event, entry.fields) == (
            "group",
            {"group": 1, "node": "a1b2", "ready_at": 12.5},
        )
        open_ledger()  # and it is no matter for the searcher


class TestUnhappyEnds:
    def test_a_failed_trial_keeps_its_error_and_fails_for_the_searcher(
        self, open_ledger: Open
    ) -> None:
        searcher = make_genetic()
        ledger = open_ledger(searcher)
        trials = [take(ledger) for _ in range(4)]
        ledger.fold_finished("0000", fold(0, 0.0))
        ledger.trial_finished("0000", "failed", error="Traceback ...\nValueError: no")
        for trial in trials[1:]:
            carry_out(ledger, trial, 0.5)
        [failed, *_] = ledger.results
        assert (failed.status, failed.error) == ("failed", "Traceback ...\nValueError: no")
        assert (failed.score, len(failed.folds)) == (0.0, 1)
        assert searcher.best is not None
        assert searcher.best[1] == 0.5

    def test_a_failed_trial_without_a_fold_has_no_score(self, open_ledger: Open) -> None:
        ledger = open_ledger()
        ledger.trial_finished(take(ledger).id, "failed", error="ValueError: no")
        [result] = ledger.results
        assert (result.score, result.standard_error, result.folds) == (None, None, ())

    def test_a_stopped_trial_counts_with_the_folds_that_it_has(self, open_ledger: Open) -> None:
        searcher = make_genetic()
        ledger = open_ledger(searcher)
        trial = take(ledger)
        ledger.fold_finished(trial.id, fold(0, 0.25))
        ledger.trial_finished(trial.id, "stopped")
        [result] = ledger.results
        assert (result.status, result.score, result.standard_error) == ("stopped", 0.25, None)
        assert searcher.best is not None
        assert searcher.best[1] == 0.25

    def test_a_stopped_trial_without_a_fold_fails_for_the_searcher(
        self, open_ledger: Open
    ) -> None:
        searcher = make_genetic()
        ledger = open_ledger(searcher)
        ledger.trial_finished(take(ledger).id, "stopped")
        assert ledger.results[0].error == NO_RESULT
        assert searcher.best is None
        with pytest.raises(RecipeError, match="'0000' is observed already"):
            searcher.observe("0000", failed=True)

    def test_unhappy_ends_are_replayed_as_they_were(self, open_ledger: Open) -> None:
        ledger = open_ledger()
        first, second, third = (take(ledger) for _ in range(3))
        ledger.trial_finished(first.id, "failed", error="ValueError: no")
        ledger.fold_finished(second.id, fold(2, 0.5))
        ledger.trial_finished(second.id, "stopped")
        carry_out(ledger, third, 0.25, 0.75)
        assert open_ledger().results == ledger.results


class TestReplay:
    def test_a_new_searcher_goes_on_as_an_uninterrupted_one(
        self, open_ledger: Open, path: Path
    ) -> None:
        """There are 4 configurations at random, then two generations of 3 children each."""
        whole = make_genetic()
        whole.start(SPACE, mode="min")
        expected = []
        while not whole.finished:
            suggestion = whole.suggest()
            assert suggestion is not None
            expected.append((suggestion.id, dict(suggestion.config)))
            score = suggestion.config["model.dropout"]
            whole.observe(suggestion.id, score=float(score))
        found = []
        for _ in expected:
            ledger = open_ledger()
            trial = take(ledger)
            found.append((trial.id, dict(trial.config)))
            carry_out(ledger, trial, float(trial.config["model.dropout"]))
        assert found == expected
        assert open_ledger().exhausted

    def test_the_order_in_which_results_came_is_kept(self, open_ledger: Open) -> None:
        ledger = open_ledger()
        trials = [take(ledger) for _ in range(4)]
        for trial in reversed(trials):
            carry_out(ledger, trial, 0.1 * int(trial.id))
        expected = [take(ledger) for _ in range(3)]
        again = open_ledger()
        assert [take(again) for _ in range(3)] == expected

    def test_trials_in_flight_come_first_with_the_folds_that_they_have(
        self, open_ledger: Open, path: Path
    ) -> None:
        ledger = open_ledger()
        first, second, third = (take(ledger) for _ in range(3))
        ledger.fold_finished(first.id, fold(0, 0.25))
        carry_out(ledger, second, 0.5)
        num_entries = len(read_journal(path))
        again = open_ledger()
        assert [again.next_trial(), again.next_trial()] == [first, third]
        assert len(read_journal(path)) == num_entries  # they are not suggested anew
        assert again.num_folds_done == 2
        assert take(again).id == "0003"
        again.fold_finished(first.id, fold(1, 0.75))
        again.trial_finished(first.id, "completed")
        assert again.results[0].score == 0.5

    def test_a_searcher_that_waits_hands_out_nothing_and_is_not_exhausted(
        self, open_ledger: Open
    ) -> None:
        ledger = open_ledger(
            Genetic(population=4, generations=3, random_seed=3, update="generational")
        )
        trials = [take(ledger) for _ in range(4)]
        assert ledger.next_trial() is None
        assert not ledger.exhausted
        for trial in trials:
            carry_out(ledger, trial, 0.5)
        assert take(ledger).id == "0004"

    def test_a_journal_that_does_not_fit_the_searcher_is_refused(
        self, open_ledger: Open, path: Path
    ) -> None:
        ledger = open_ledger()
        take(ledger)
        other = Genetic(population=4, generations=3, random_seed=4)
        with pytest.raises(
            JournalError, match=r"no longer suggests what the journal holds as trial 0000; resume"
        ):
            open_ledger(other)

    def test_a_changed_configuration_is_refused(self, open_ledger: Open, path: Path) -> None:
        ledger = open_ledger()
        take(ledger), take(ledger)
        ledger = open_ledger(num_trials=0)
        first, second = read_journal(path)
        config = {**second.fields["config"], "batch_size": 17}
        tampered = Entry(
            sequence=1,
            time=second.time,
            event="suggestion",
            fields={"trial": "0001", "config": config},
        )
        searcher = make_genetic()
        searcher.start(SPACE, mode="min")
        with pytest.raises(JournalError, match="holds as trial 0001"):
            Ledger(searcher, ledger._journal, num_trials=10).replay([first, tampered])

    def test_a_journal_with_more_than_the_searcher_ever_suggests_is_refused(
        self, open_ledger: Open
    ) -> None:
        ledger = open_ledger()
        trials = [take(ledger) for _ in range(4)]
        for trial in trials:
            carry_out(ledger, trial, 0.5)
        take(ledger)
        with pytest.raises(JournalError, match="holds as trial 0004"):
            open_ledger(Genetic(population=4, generations=1, random_seed=3))


class TestLimits:
    def test_no_more_trials_than_the_limit(self, open_ledger: Open, path: Path) -> None:
        ledger = open_ledger(num_trials=2)
        trials = [take(ledger), take(ledger)]
        assert ledger.exhausted
        assert ledger.next_trial() is None
        for trial in trials:
            carry_out(ledger, trial, 0.5)
        assert len(ledger.results) == 2
        assert [event for event, _ in events(path)].count("suggestion") == 2

    def test_a_limit_raised_later_goes_on_where_the_lower_one_ended(
        self, open_ledger: Open
    ) -> None:
        ledger = open_ledger(num_trials=2)
        expected = [take(ledger), take(ledger)]
        for trial in expected:
            carry_out(ledger, trial, 0.5)
        assert open_ledger(num_trials=2).exhausted
        ledger = open_ledger(num_trials=3)
        assert not ledger.exhausted
        assert take(ledger).id == "0002"
        assert ledger.exhausted

    def test_a_limit_lowered_later_still_ends_what_was_begun(self, open_ledger: Open) -> None:
        ledger = open_ledger(num_trials=3)
        begun = [take(ledger) for _ in range(3)]
        carry_out(ledger, begun[0], 0.5)
        again = open_ledger(num_trials=1)
        assert [again.next_trial(), again.next_trial(), again.next_trial()] == [*begun[1:], None]
        assert again.exhausted

    def test_a_searcher_that_is_finished_exhausts_the_ledger(self, open_ledger: Open) -> None:
        ledger = open_ledger(Genetic(population=2, generations=1, random_seed=0), num_trials=5)
        take(ledger), take(ledger)
        assert ledger.exhausted

    def test_a_closed_ledger_hands_out_nothing_but_still_books(
        self, open_ledger: Open, path: Path
    ) -> None:
        ledger = open_ledger()
        trial = take(ledger)
        ledger.close()
        assert ledger.exhausted
        assert ledger.next_trial() is None
        carry_out(ledger, trial, 0.5)
        assert [event for event, _ in events(path)] == ["suggestion", "fold", "trial"]
        assert not open_ledger().exhausted


class TestScheduling:
    def test_without_a_scheduler_every_trial_goes_on(self, open_ledger: Open) -> None:
        ledger = open_ledger()
        trial = take(ledger)
        assert ledger.fold_finished(trial.id, fold(0, 9.0)) == "go on"
        assert ledger.epoch_finished(trial.id, 1, [(0, 9.0)]) == "go on"

    def test_the_scheduler_hears_of_all_folds_so_far_and_of_the_end(
        self, open_ledger: Open
    ) -> None:
        """The incumbent's worst fold is 0.5; the mean of 0.25 and 0.5 is no worse."""
        ledger = open_ledger(scheduler=Racing(rule="forgiving", top=0))
        first, second, third = (take(ledger) for _ in range(3))
        carry_out(ledger, first, 0.5, 0.25)
        assert ledger.fold_finished(second.id, fold(0, 0.5)) == "go on"
        assert ledger.fold_finished(third.id, fold(0, 0.625)) == "stop"

    def test_a_new_scheduler_is_rebuilt_from_the_journal(self, open_ledger: Open) -> None:
        """The fold of a trial that was in flight is told again, and is dropped as before."""
        ledger = open_ledger(scheduler=Racing(rule="forgiving", top=0))
        first, second = take(ledger), take(ledger)
        carry_out(ledger, first, 0.5, 0.25)
        assert ledger.fold_finished(second.id, fold(0, 0.625)) == "stop"
        again = open_ledger(scheduler=Racing(rule="forgiving", top=0))
        assert take(again) == second
        assert again.fold_finished(second.id, fold(0, 0.625)) == "stop"

    def test_epochs_are_written_once_and_replayed(self, open_ledger: Open, path: Path) -> None:
        """Both trials reach the rung of epoch 1, the second one with a worse mean."""
        ledger = open_ledger(scheduler=Halving(reduction=2))
        first, second = take(ledger), take(ledger)
        assert ledger.epoch_finished(first.id, 1, [(0, 0.25), (1, 0.25)]) == "go on"
        assert ledger.epoch_finished(first.id, 2, [(0, 0.125), (1, 0.125)]) == "go on"
        assert ledger.epoch_finished(second.id, 1, [(0, 0.25), (1, 0.5)]) == "stop"
        num_entries = len(read_journal(path))
        again = open_ledger(scheduler=Halving(reduction=2))
        assert again.epoch_finished(first.id, 1, [(0, 0.25), (1, 0.25)]) == "go on"
        assert again.epoch_finished(second.id, 1, [(0, 0.25), (1, 0.5)]) == "stop"
        assert len(read_journal(path)) == num_entries
        again.trial_finished(second.id, "stopped")
        assert again.results[0].score == 0.375
        assert open_ledger(scheduler=Halving(reduction=2)).results == again.results

    def test_the_searcher_is_told_of_how_many_folds_a_score_is_the_mean(
        self, open_ledger: Open
    ) -> None:
        """Of one finished fold in turn, of two that have trained an epoch together."""
        told: list[tuple[float | None, int | None]] = []

        class Listener(Random):
            def _learn(self, observation: Observation) -> None:
                told.append((observation.score, observation.num_folds))

        ledger = open_ledger(Listener())
        first, second = take(ledger), take(ledger)
        ledger.epoch_finished(first.id, 1, [(0, 9.0)])
        ledger.fold_finished(first.id, fold(0, 0.5))
        ledger.trial_finished(first.id, "stopped")
        ledger.epoch_finished(second.id, 1, [(0, 0.25), (1, 0.75)])
        ledger.trial_finished(second.id, "stopped")
        assert told == [(0.5, 1), (0.5, 2)]
        told.clear()
        open_ledger(Listener())
        assert told == [(0.5, 1), (0.5, 2)]


def exploit(trial: str, donor: str, epoch: int, rate: float) -> Exploit:
    config = {"optimizer.learning_rate": rate, "model.dropout": 0.0, "batch_size": 16}
    return Exploit(
        trial=trial,
        donor=donor,
        epoch=epoch,
        config=config,
        changed={"optimizer.learning_rate": rate},
        scores=((0, 0.5), (1, 0.75)),
        states=("a" * 64, "b" * 64),
    )


class TestExploits:
    def test_a_schedule_leads_back_over_every_donor(self, open_ledger: Open) -> None:
        """0001 copies 0000 at epoch 2, changes at 6, and 0002 copies 0001 as it was at 4."""
        ledger = open_ledger(Random())
        first, second, third = (take(ledger) for _ in range(3))
        exploits = [
            exploit("0001", "0000", 2, 0.25),
            exploit("0001", "0001", 6, 0.125),
            exploit("0002", "0001", 4, 0.5),
        ]
        for made in exploits:
            ledger.exploited(made)
        for trial in (first, second, third):
            carry_out(ledger, trial, 0.5)
        plain, changed, copied = ledger.results
        assert (plain.schedule, plain.exploits, plain.config) == ((), (), first.config)
        assert changed.schedule == (
            (0, first.config),
            (2, exploits[0].config),
            (6, exploits[1].config),
        )
        assert changed.exploits == tuple(exploits[:2])
        assert copied.schedule == (
            (0, first.config),
            (2, exploits[0].config),
            (4, exploits[2].config),
        )
        assert copied.config == exploits[2].config

    def test_what_a_trial_had_before_counts_no_more(self, open_ledger: Open, path: Path) -> None:
        """It goes back to epoch 2, and its folds and epochs are written anew."""
        ledger = open_ledger(Random())
        trial, _ = take(ledger), take(ledger)
        for epoch in (1, 2, 3):
            ledger.epoch_finished(trial.id, epoch, [(0, 9.0), (1, 9.0)])
        ledger.fold_finished(trial.id, fold(0, 9.0))
        ledger.exploited(exploit(trial.id, "0001", 2, 0.25))
        ledger.epoch_finished(trial.id, 3, [(0, 0.25), (1, 0.25)])
        carry_out(ledger, trial, 0.125, 0.375)
        written = [event for event, id_ in events(path) if id_ == trial.id][5:]
        assert written == ["exploit", "epoch", "fold", "fold", "trial"]
        [result] = ledger.results
        assert (result.score, [f.score for f in result.folds]) == (0.25, [0.125, 0.375])
        assert open_ledger(Random()).results == [result]

    def test_a_trial_in_flight_is_taken_up_as_it_became(self, open_ledger: Open) -> None:
        ledger = open_ledger(Random())
        take(ledger), take(ledger)
        made = exploit("0000", "0001", 2, 0.25)
        ledger.exploited(made)
        again = open_ledger(Random())
        assert take(again) == Trial(id="0000", config=made.config, lineage=1)
        assert take(again).lineage == 0


class TestInitialWeights:
    def test_how_trials_begin_is_kept_and_replayed(self, open_ledger: Open, path: Path) -> None:
        ledger = open_ledger(cold_starts=ColdStarts("min", 2))
        trials = [take(ledger) for _ in range(2)]
        assert [(trial.warm, trial.control) for trial in trials] == [(True, 0), (True, 1)]
        carry_out(ledger, trials[0], 0.1, 0.9)
        carry_out(ledger, trials[1], 0.8, 0.2)
        assert ledger.misled
        in_flight = take(ledger)
        assert not in_flight.warm
        ledger = open_ledger(cold_starts=ColdStarts("min", 2))
        assert ledger.misled
        assert take(ledger) == in_flight
        carry_out(ledger, in_flight, 0.7, 0.7)
        assert [result.warm for result in ledger.results] == [True, True, False]
        written = [entry.fields for entry in read_journal(path) if entry.event == "suggestion"]
        assert [(fields["warm"], fields["control"]) for fields in written] == [
            (True, 0),
            (True, 1),
            (False, None),
        ]

    def test_a_trial_without_its_control_tells_nothing(self, open_ledger: Open) -> None:
        ledger = open_ledger(cold_starts=ColdStarts("min", 2))
        for fold_number in (1, 0):
            trial = take(ledger)
            ledger.fold_finished(trial.id, fold(fold_number, 0.5))
            ledger.trial_finished(trial.id, "stopped")
        assert not ledger.misled
        assert take(ledger).warm

    def test_a_study_without_them_says_nothing_of_it(self, open_ledger: Open, path: Path) -> None:
        ledger = open_ledger()
        trial = take(ledger)
        carry_out(ledger, trial, 0.5)
        assert (trial.warm, ledger.results[0].warm) == (False, None)
        assert "warm" not in read_journal(path)[0].fields


def end_three(ledger: Ledger) -> None:
    """One trial completes, one fails after a fold, and one is in flight with a fold."""
    carry_out(ledger, take(ledger), 0.5, 0.4)
    failed = take(ledger)
    ledger.fold_finished(failed.id, fold(0, 0.3))
    ledger.trial_finished(failed.id, "failed", error="KeyError: 'x'")
    ledger.fold_finished(take(ledger).id, fold(0, 0.2))


class TestTryingAgain:
    def test_failed_trials_stay_failed_unless_that_is_asked_for(self, open_ledger: Open) -> None:
        end_three(open_ledger(code="a"))
        ledger = open_ledger(code="a")
        ledger.retry()
        assert [result.status for result in ledger.results] == ["completed", "failed"]
        assert take(ledger).id == "0002"

    def test_a_failed_trial_keeps_its_configuration_and_its_folds(self, open_ledger: Open) -> None:
        first = open_ledger(code="a")
        end_three(first)
        before = first.results[1]
        ledger = open_ledger(code="a")
        ledger.retry(failed=True)
        again = take(ledger)
        assert (again.id, again.config) == ("0001", before.config)
        assert ledger.fresh_starts == {}
        ledger.fold_finished(again.id, fold(1, 0.1))
        ledger.trial_finished(again.id, "completed")
        assert ledger.results[1].score == pytest.approx(0.2)
        assert ledger.results[1].error is None

    def test_other_code_begins_failed_trials_and_those_in_flight_anew(
        self, open_ledger: Open, path: Path
    ) -> None:
        end_three(open_ledger(code="a"))
        ledger = open_ledger(code="b")
        ledger.retry()
        assert [result.id for result in ledger.results] == ["0000"]
        assert ledger.fresh_starts == {"0001": 1, "0002": 1}
        assert ledger.num_folds_done == 2
        carry_out(ledger, take(ledger), 0.9, 0.7)
        assert ledger.results[1].score == pytest.approx(0.8)
        retries = [entry.fields for entry in read_journal(path) if entry.event == "retry"]
        assert [(fields["trial"], fields["code"], fields["fresh"]) for fields in retries] == [
            ("0001", "b", True),
            ("0002", "b", True),
        ]

    def test_trials_of_unknown_code_are_left_as_they_are(self, open_ledger: Open) -> None:
        end_three(open_ledger())
        ledger = open_ledger(code="b")
        ledger.retry()
        assert ledger.fresh_starts == {}
        assert ledger.num_folds_done == 4

    @pytest.mark.parametrize(
        "make",
        [
            make_genetic,
            lambda: Genetic(population=4, generations=3, random_seed=3, update="generational"),
            lambda: Bayesian(num_initial=2, random_seed=3),
        ],
    )
    @pytest.mark.parametrize("racing", [False, True])
    def test_a_replay_gives_the_same_searcher(
        self, open_ledger: Open, make: Callable[[], Searcher], racing: bool
    ) -> None:
        def take_up() -> Ledger:
            return open_ledger(make(), scheduler=Racing() if racing else None, code="a")

        ledger = take_up()
        end_three(ledger)
        carry_out(ledger, take(ledger), 0.6, 0.5)
        ledger = take_up()
        ledger.retry(failed=True)
        while take(ledger).id != "0002":
            pass
        for trial, score in (("0001", 0.1), ("0002", 0.9)):
            ledger.fold_finished(trial, fold(1, score))
            ledger.trial_finished(trial, "completed")
        for _ in range(3):
            carry_out(ledger, take(ledger), 0.5, 0.6)
        expected = take(ledger).config
        best = ledger._searcher.best
        again = take_up()
        assert again.results == ledger.results
        assert take(again).config == expected
        assert best is not None
        assert (best[0].id, best[1]) == ("0001", 0.2)
        assert again._searcher.best == best

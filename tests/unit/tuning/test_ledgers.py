"""Ledgers of studies in one pool, over real journals."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rayfold.journal import Journal, read_journal
from rayfold.results import FoldResult
from rayfold.schedulers import Racing
from rayfold.search import Random
from rayfold.space import Float, SearchSpace
from rayfold.tuning.ledger import Ledger
from rayfold.tuning.ledgers import Ledgers

SPACE = SearchSpace({"optimizer.learning_rate": Float(1e-4, 1.0, log=True)})

Open = Callable[..., Ledgers]


def fold(number: int, score: float) -> FoldResult:
    return FoldResult(
        fold=number,
        score=score,
        history=({"val_loss": score},),
        started_at=1.0,
        finished_at=2.0,
        busy_seconds=0.5,
        weights="weights.safetensors",
        predictions="predictions.safetensors",
    )


@pytest.fixture
def open_ledgers(tmp_path: Path) -> Iterator[Open]:
    """Take up studies as a new process does: ``open_ledgers(even=2, odd=3)``, trials of each."""
    with ExitStack() as stack:

        def take_up(*, races: bool = False, **num_trials: int) -> Ledgers:
            stack.close()
            ledgers = {}
            for name, number in num_trials.items():
                path = tmp_path / name / "journal.jsonl"
                journal = stack.enter_context(Journal.open(path))
                searcher, scheduler = Random(random_seed=1), Racing() if races else None
                searcher.start(SPACE, mode="min")
                if scheduler is not None:
                    scheduler.start(mode="min", num_folds=2, epochs=1)
                ledgers[name] = Ledger(searcher, journal, num_trials=number, scheduler=scheduler)
                ledgers[name].replay(read_journal(path))
            return Ledgers(ledgers)

        yield take_up


def take(ledgers: Ledgers) -> tuple[str, str]:
    found = ledgers.next_trial()
    assert found is not None
    study, trial = found
    return study, trial.id


def finish(ledgers: Ledgers, study: str, trial: str, score: float = 0.5) -> None:
    ledgers[study].fold_finished(trial, fold(0, score))
    ledgers[study].trial_finished(trial, "completed")


def test_studies_take_turns_until_each_has_all_its_trials(open_ledgers: Open) -> None:
    ledgers = open_ledgers(even=1, odd=3)
    assert ledgers.num_trials == 4
    taken = [take(ledgers) for _ in range(4)]
    assert taken == [("even", "0000"), ("odd", "0000"), ("odd", "0001"), ("odd", "0002")]
    assert ledgers.next_trial() is None
    assert ledgers.exhausted


def test_each_result_is_booked_to_the_journal_of_its_study(
    open_ledgers: Open, tmp_path: Path
) -> None:
    ledgers = open_ledgers(even=2, odd=2)
    for score in (0.25, 0.75):
        finish(ledgers, *take(ledgers), score=score)
    for name, score in (("even", 0.25), ("odd", 0.75)):
        entries = read_journal(tmp_path / name / "journal.jsonl")
        assert [entry.event for entry in entries] == ["suggestion", "fold", "trial"]
        assert entries[-1].fields["score"] == score
    assert [result.score for result in ledgers["odd"].results] == [0.75]
    assert ledgers.num_folds_done == 2


def test_a_killed_run_goes_on_with_the_trials_in_flight_and_no_finished_study(
    open_ledgers: Open,
) -> None:
    """Killed when all of even is done, and of odd one trial, with another in flight."""
    ledgers = open_ledgers(even=1, odd=3)
    finish(ledgers, *take(ledgers))
    finish(ledgers, *take(ledgers))
    assert take(ledgers) == ("odd", "0001")
    again = open_ledgers(even=1, odd=3)
    assert again["even"].exhausted
    assert [take(again), take(again)] == [("odd", "0001"), ("odd", "0002")]
    assert again.next_trial() is None


def test_after_closing_none_hands_out_a_trial(open_ledgers: Open) -> None:
    ledgers = open_ledgers(even=2, odd=2)
    ledgers.close()
    assert ledgers.exhausted
    assert ledgers.next_trial() is None
    assert all(ledger.closed for ledger in ledgers.values())


def test_trials_race_against_those_of_their_own_study(open_ledgers: Open) -> None:
    """0.9 in each fold would be hopeless among even's trials of 0.1, and leads in odd."""
    ledgers = open_ledgers(races=True, even=8, odd=8)
    decisions = []
    for _ in range(6):
        for score in (0.1, 0.9):
            study, trial = take(ledgers)
            decisions.append(ledgers[study].fold_finished(trial, fold(0, score)))
            ledgers[study].fold_finished(trial, fold(1, score))
            ledgers[study].trial_finished(trial, "completed")
    assert set(decisions) == {"go on"}


def test_a_group_is_booked_by_all(open_ledgers: Open, tmp_path: Path) -> None:
    open_ledgers(even=1, odd=1).group_ready(0, node="node", at=3.0)
    for name in ("even", "odd"):
        (entry,) = read_journal(tmp_path / name / "journal.jsonl")
        assert (entry.event, entry.fields["ready_at"]) == ("group", 3.0)

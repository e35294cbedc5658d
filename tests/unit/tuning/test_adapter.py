from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher as TuneSearcher

from rayfold.journal import Journal, read_journal
from rayfold.results import FoldResult
from rayfold.search import Random
from rayfold.space import Int, SearchSpace
from rayfold.tuning.adapter import SearcherAdapter
from rayfold.tuning.ledger import Ledger


def fold(number: int, score: float) -> dict[str, Any]:
    """Return a fold as a step of a trial reports it."""
    return FoldResult(
        fold=number,
        score=score,
        history=({"val_loss": score},),
        started_at=1.0,
        finished_at=2.0,
        busy_seconds=0.5,
        weights="weights.safetensors",
        predictions="predictions.safetensors",
    ).to_dict()


class Study:
    """A ledger of at most 2 trials, its adapter, and which groups were given back."""

    def __init__(self, journal: Journal) -> None:
        searcher = Random()
        searcher.start(SearchSpace({"batch_size": Int(1, 64)}), mode="min")
        self.ledger = Ledger(searcher, journal, num_trials=2)
        self.released: list[str] = []
        self.num_changes = 0
        self.adapter = SearcherAdapter(
            self.ledger, release=self.released.append, on_change=self._count
        )

    def _count(self) -> None:
        self.num_changes += 1

    @property
    def events(self) -> list[str]:
        return [entry.event for entry in read_journal(self.ledger._journal.path)]


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        yield Study(journal)


def test_tunes_trials_get_ours_with_their_hyperparameters(study: Study) -> None:
    first, second = study.adapter.suggest("a1"), study.adapter.suggest("b2")
    assert [first["trial"], second["trial"]] == ["0000", "0001"]
    assert list(first["hyperparameters"]) == ["batch_size"]
    assert study.adapter.suggest("c3") == TuneSearcher.FINISHED


def test_a_complete_trial_is_booked_with_the_folds_of_every_step(study: Study) -> None:
    """Tune hands a trial's last step to on_trial_complete alone."""
    study.adapter.suggest("a1")
    study.adapter.on_trial_result("a1", {"folds": [fold(0, 0.25)]})
    assert study.ledger.num_folds_done == 1
    study.adapter.on_trial_complete("a1", {"folds": [fold(1, 0.75)], "complete": True})
    [result] = study.ledger.results
    assert (result.id, result.status, result.score) == ("0000", "completed", 0.5)
    assert study.released == ["0000"]
    assert study.events == ["suggestion", "fold", "fold", "trial"]
    assert study.num_changes == 3


def test_an_error_of_the_training_fails_the_trial_with_its_text(study: Study) -> None:
    study.adapter.suggest("a1")
    study.adapter.on_trial_complete("a1", {"folds": [], "error": "ValueError: no", "done": True})
    [result] = study.ledger.results
    assert (result.status, result.error) == ("failed", "ValueError: no")


def test_a_trial_whose_actor_died_has_failed_and_gives_its_groups_back(study: Study) -> None:
    study.adapter.suggest("a1")
    study.adapter.on_trial_complete("a1", None, error=True)
    [result] = study.ledger.results
    assert (result.status, result.error) == (
        "failed",
        "the trial's actor died; Ray's logs tell why.",
    )
    assert study.released == ["0000"]


def test_a_trial_that_tune_stops_early_is_stopped_with_the_folds_it_has(study: Study) -> None:
    study.adapter.suggest("a1")
    study.adapter.on_trial_complete("a1", {"folds": [fold(0, 0.25)], "complete": False})
    [result] = study.ledger.results
    assert (result.status, result.score, len(result.folds)) == ("stopped", 0.25, 1)


def test_an_interrupted_trial_keeps_its_folds_and_has_no_end(study: Study) -> None:
    study.adapter.suggest("a1")
    study.adapter.on_trial_complete(
        "a1", {"folds": [fold(0, 0.25)], "interrupted": True, "done": True}
    )
    assert study.ledger.results == []
    assert study.events == ["suggestion", "fold"]
    assert study.released == ["0000"]


def test_a_closed_ledger_ends_tunes_search(study: Study) -> None:
    study.ledger.close()
    assert study.adapter.suggest("a1") == TuneSearcher.FINISHED

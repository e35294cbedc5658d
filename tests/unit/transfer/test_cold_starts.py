import math

import pytest

from rayfold.results import Mode
from rayfold.transfer import ColdStarts


def starts(number: int) -> list[bool]:
    cold_starts = ColdStarts("min")
    taken = []
    for _ in range(number):
        taken.append(cold_starts.is_next_warm)
        cold_starts.note()
    return taken


def test_one_trial_in_five_begins_cold_however_many_run_at_once() -> None:
    cold = [number for number, warm in enumerate(starts(40)) if not warm]
    assert cold == [1, 3, 10, 15, 20, 25, 30, 35]


@pytest.mark.parametrize(("mode", "sign"), [("min", 1.0), ("max", -1.0)])
def test_a_bad_past_ends_warm_starts_after_five_trials(mode: Mode, sign: float) -> None:
    cold_starts = ColdStarts(mode)
    for warm, loss in ((True, 0.9), (False, 0.1), (True, 0.8), (False, 0.2)):
        cold_starts.note()
        cold_starts.learn(warm=warm, score=sign * loss)
        assert not cold_starts.misled
    cold_starts.note()
    cold_starts.learn(warm=True, score=sign * 0.7)
    assert cold_starts.misled
    assert not cold_starts.is_next_warm


def test_a_good_past_goes_on() -> None:
    cold_starts = ColdStarts("min")
    for number in range(20):
        warm = cold_starts.is_next_warm
        cold_starts.note()
        cold_starts.learn(warm=warm, score=(0.1 if warm else 0.5) + 0.01 * number)
        assert not cold_starts.misled


def test_trials_that_fail_are_the_worst() -> None:
    cold_starts = ColdStarts("max")
    for warm, score in ((True, None), (False, 0.1), (True, None), (False, 0.2), (True, None)):
        cold_starts.learn(warm=warm, score=score)
    assert cold_starts.misled


def test_equal_scores_tell_nothing() -> None:
    cold_starts = ColdStarts("min")
    for number in range(12):
        cold_starts.learn(warm=number % 2 == 0, score=math.pi)
    assert not cold_starts.misled

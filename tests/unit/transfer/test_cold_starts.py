import pytest

from rayfold.results import Mode
from rayfold.transfer.cold_starts import Beginning, ColdStarts


def take(cold_starts: ColdStarts) -> Beginning:
    beginning = cold_starts.next
    cold_starts.note(beginning)
    return beginning


def test_one_trial_in_five_begins_cold_however_many_run_at_once() -> None:
    cold_starts = ColdStarts("min", 3)
    taken = [take(cold_starts) for _ in range(20)]
    assert [number for number, begun in enumerate(taken) if not begun.warm] == [4, 9, 14, 19]


def test_warm_trials_have_a_control_each_another_fold() -> None:
    cold_starts = ColdStarts("min", 3)
    controls = [take(cold_starts).control for _ in range(7)]
    assert controls == [0, 1, 2, 0, None, 1, 2]


@pytest.mark.parametrize(("mode", "sign"), [("min", 1.0), ("max", -1.0)])
def test_a_bad_past_ends_warm_starts(mode: Mode, sign: float) -> None:
    cold_starts = ColdStarts(mode, 3)
    cold_starts.learn(warm=sign * 2.3, control=sign * 0.4)
    assert not cold_starts.misled
    cold_starts.learn(warm=sign * 1.9, control=sign * 0.5)
    assert cold_starts.misled
    assert [take(cold_starts) for _ in range(5)] == [Beginning()] * 5


def test_a_good_past_needs_no_controls_any_more() -> None:
    cold_starts = ColdStarts("min", 3)
    for control in (0.5, 0.6, 0.55):
        cold_starts.learn(warm=0.3, control=control)
    assert take(cold_starts) == Beginning(warm=True)
    assert not cold_starts.misled


def test_ties_tell_nothing() -> None:
    """Configurations that learn nothing from any start come between those that tell."""
    cold_starts = ColdStarts("min", 3)
    for warm, control in ((2.302, 2.303), (2.3, 0.4), (2.3, 2.301), (0.0, 0.0), (2.3, 0.5)):
        cold_starts.learn(warm=warm, control=control)
    assert cold_starts.misled


def test_what_differs_both_ways_decides_nothing() -> None:
    cold_starts = ColdStarts("min", 3)
    for warm, control in ((0.3, 0.4), (0.4, 0.3), (0.35, 0.5), (0.5, 0.35)):
        cold_starts.learn(warm=warm, control=control)
    assert not cold_starts.misled
    assert cold_starts.next.control == 0

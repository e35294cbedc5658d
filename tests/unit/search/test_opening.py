"""The opening: a portfolio that is tried as long as it proves its worth."""

import pytest

from rayfold.errors import RecipeError, SpaceError
from rayfold.search import Past, PastStudy, Random
from rayfold.search.opening import Opening
from rayfold.search.portfolio import Entry, portfolio
from rayfold.space import Float, SearchSpace

SPACE = SearchSpace({"x": Float(0.0, 1.0)})


def entries(*studies: int) -> list[Entry]:
    return [Entry({"x": number / 10}, study) for number, study in enumerate(studies)]


def play(opening: Opening, num_trials: int, *, entry: float | None, own: float) -> str:
    """Try one trial after another; return who made each: P of the past, S of the searcher."""
    made = ""
    for number in range(num_trials):
        id_ = f"{number:04d}"
        if opening.due is not None:
            opening.try_due(id_)
            opening.learn(id_, entry)
            made += "P"
        else:
            opening.note_own({"x": 1.0 - number / 1000})
            opening.learn(id_, own)
            made += "S"
    return made


def test_of_entries_that_win_three_are_tried_for_each_own_configuration() -> None:
    assert play(Opening(entries(*[0] * 5), "min"), 8, entry=0.1, own=0.5) == "PSPPPSPS"


def test_where_higher_scores_are_better_the_higher_one_wins() -> None:
    assert play(Opening(entries(*[0] * 5), "max"), 8, entry=0.5, own=0.1) == "PSPPPSPS"


def test_where_all_scores_are_those_of_guessing_no_entry_wins() -> None:
    """Better by less than its standard error is not better."""
    opening = Opening(entries(0, 0, 0), "min")
    opening.try_due("0000")
    opening.note_own({"x": 0.9})
    opening.learn("0001", 2.302)
    opening.learn("0000", 2.301, standard_error=0.002)
    assert opening.num_won == 0
    assert opening.due is None


def test_a_study_whose_entry_loses_is_left_alone() -> None:
    assert play(Opening(entries(*[0] * 5), "min"), 40, entry=0.9, own=0.5) == "P" + "S" * 39


def test_two_misleading_studies_cost_two_trials_and_a_third_none() -> None:
    assert play(Opening(entries(0, 1, 2, 0, 1, 2), "min"), 40, entry=0.9, own=0.5).count("P") == 2


def test_failed_entries_lose() -> None:
    assert play(Opening(entries(*[0] * 5), "min"), 40, entry=None, own=0.5).count("P") == 1


def test_an_entry_that_lost_to_a_lucky_configuration_is_judged_anew() -> None:
    """0.3 loses to 0.1, but the median of 0.1, 0.5 and 0.6 is 0.5."""
    opening = Opening(entries(0, 0), "min")
    opening.try_due("0000")
    opening.note_own({"x": 0.9})
    opening.learn("0000", 0.3)
    opening.learn("0001", 0.1)
    assert opening.due is None
    for id_, loss in (("0002", 0.5), ("0003", 0.6)):
        opening.note_own({"x": loss})
        opening.learn(id_, loss)
    assert opening.due == Entry({"x": 0.1}, 0)


def test_of_many_trials_at_once_two_are_of_the_past() -> None:
    """Nothing is known of them yet."""
    opening = Opening(entries(*[0] * 8), "min")
    made = 0
    for number in range(64):
        if opening.due is not None:
            opening.try_due(f"{number:04d}")
            made += 1
        else:
            opening.note_own({"x": 1.0 - number / 1000})
    assert made == 2


def test_what_the_searcher_has_tried_is_not_tried_again() -> None:
    opening = Opening(entries(0, 0), "min")
    opening.try_due("0000")
    opening.note_own({"x": 0.1})
    opening.learn("0000", 0.0)
    opening.learn("0001", 0.5)
    assert opening.due is None


def past_study(name: str, best: float, *, mode: str = "min") -> PastStudy:
    """A study of eleven trials, better the closer to ``best``."""
    places = [number / 10 for number in range(11)]
    sign = 1.0 if mode == "min" else -1.0
    return PastStudy(
        name=name,
        mode=mode,  # type: ignore[arg-type]
        configs=tuple({"x": place} for place in places),
        scores=tuple(sign * abs(place - best) for place in places),
    )


def test_normal_scores_are_quantiles_and_lower_is_better() -> None:
    """Ranks 1, 3 and 2 of 3 are the quantiles 1/6, 5/6 and 1/2."""
    configs = ({"x": 0.1}, {"x": 0.2}, {"x": 0.3})
    study = PastStudy(name="a", mode="max", configs=configs, scores=(1e9, -5.0, 0.0))
    assert study.normal_scores == pytest.approx([-0.967422, 0.967422, 0.0], abs=1e-6)


def test_the_portfolio_begins_with_the_best_and_asks_all_studies() -> None:
    past = Past((past_study("a", 0.2), past_study("b", 0.3, mode="max")))
    chosen = portfolio(past, SPACE, size=4)
    assert [entry.study for entry in chosen] == [0, 1, 0, 1] or [
        entry.study for entry in chosen
    ] == [1, 0, 1, 0]
    assert chosen[0].config["x"] in (0.2, 0.3)
    assert len({entry.config["x"] for entry in chosen}) == 4


def test_a_portfolio_is_of_the_better_half() -> None:
    """Of eleven configurations the six that are nearest to 0.2."""
    chosen = portfolio(Past((past_study("a", 0.2),)), SPACE, size=50)
    assert sorted(entry.config["x"] for entry in chosen) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert portfolio(Past(), SPACE) == []


def test_a_past_outside_the_space_is_refused() -> None:
    study = PastStudy(name="a", mode="min", configs=({"x": 7.0},), scores=(1.0,))
    with pytest.raises(SpaceError, match=r"past study 'a', 0: x must be a number from 0.0 to 1"):
        Random().start(SPACE, mode="min", past=Past((study,)))


@pytest.mark.parametrize("scores", [(), (1.0, 2.0), (float("nan"),)])
def test_a_past_study_needs_a_finite_score_for_each_configuration(
    scores: tuple[float, ...],
) -> None:
    with pytest.raises(RecipeError, match="past study 'a'"):
        PastStudy(name="a", mode="min", configs=({"x": 0.5},), scores=scores)

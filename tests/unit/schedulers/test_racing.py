import numpy as np
import pytest

from rayfold.errors import RecipeError
from rayfold.results import Mode
from rayfold.schedulers import Racing
from rayfold.schedulers.racing import paired_p_value

INCUMBENT = (0.3, 0.1, 0.2, 0.2)
"""Mean 0.2, worst fold 0.3."""


def started(
    mode: Mode = "min", *, num_folds: int = 4, repeats: int = 1, **options: object
) -> Racing:
    racing = Racing(**options)  # type: ignore[arg-type]
    racing.start(mode=mode, num_folds=num_folds, epochs=10, repeats=repeats)
    return racing


def complete(racing: Racing, trial: str, scores: tuple[float, ...]) -> None:
    """Tell of every fold, whatever the scheduler says to it."""
    for number in range(1, len(scores) + 1):
        racing.report(trial, dict(enumerate(scores[:number])), epoch=10)
    racing.finished(trial, "completed")


def report(racing: Racing, trial: str, *scores: float) -> str:
    return racing.report(trial, dict(enumerate(scores)), epoch=10)


class TestMatched:
    @pytest.mark.parametrize(
        ("scores", "decision"),
        [
            ((0.39,), "go on"),  # 0.09 worse on fold 0, the incumbent's own worst
            ((0.41,), "stop"),
            ((0.30, 0.29), "go on"),  # 0.19 worse on fold 1, by 0.095 on the mean
            ((0.30, 0.31), "stop"),
            ((0.50, 0.02), "go on"),
            ((0.40, 0.20, 0.30, 9.0), "go on"),  # all its folds are trained
        ],
    )
    def test_a_trial_may_be_as_much_worse_as_the_worst_fold_is_than_the_mean(
        self, scores: tuple[float, ...], decision: str
    ) -> None:
        """By 0.3 - 0.2 = 0.1, on the mean over the same folds."""
        racing = started(top=0)
        complete(racing, "0000", INCUMBENT)
        assert report(racing, "0001", *scores) == decision

    def test_a_hard_fold_is_not_the_trials_fault(self) -> None:
        """0.35 is worse than the incumbent's worst fold, but on that very fold, and by little."""
        for rule, decision in (("matched", "go on"), ("forgiving", "stop")):
            racing = started(rule=rule, top=0)
            complete(racing, "0000", INCUMBENT)
            assert report(racing, "0001", 0.35) == decision

    def test_accuracies_lose_downwards(self) -> None:
        racing = started("max", top=0)
        complete(racing, "0000", (0.75, 1.0, 0.875, 0.875))  # mean 0.875, worst 0.125 below it
        assert report(racing, "0001", 0.625) == "go on"
        assert report(racing, "0002", 0.5625) == "stop"
        assert report(racing, "0003", 1.0) == "go on"


class TestForgiving:
    def test_before_a_trial_is_complete_nothing_is_dropped(self) -> None:
        racing = started(rule="forgiving", top=0)
        assert report(racing, "0000", 0.1, 0.1) == "go on"
        assert report(racing, "0001", 9.0, 9.0) == "go on"
        assert racing.incumbent is None

    @pytest.mark.parametrize(
        ("scores", "decision"),
        [
            ((0.31,), "stop"),
            ((0.30,), "go on"),  # no worse than the incumbent's worst fold
            ((0.30, 0.29), "go on"),
            ((0.30, 0.31), "stop"),  # the mean is 0.305
            ((0.50, 0.02), "go on"),  # the mean counts, not the fold: 0.26
            ((0.30, 0.30, 0.30, 9.0), "go on"),  # all its folds are trained
        ],
    )
    def test_a_mean_worse_than_the_incumbents_worst_fold_is_dropped(
        self, scores: tuple[float, ...], decision: str
    ) -> None:
        racing = started(rule="forgiving", top=0)
        complete(racing, "0000", INCUMBENT)
        assert report(racing, "0001", *scores) == decision

    def test_high_scores_are_the_good_ones_where_they_are_said_to_be(self) -> None:
        """The incumbent's worst fold has an accuracy of 0.7."""
        racing = started("max", rule="forgiving", top=0)
        complete(racing, "0000", (0.7, 0.9, 0.8, 0.8))
        assert report(racing, "0001", 0.69) == "stop"
        assert report(racing, "0002", 0.70) == "go on"

    def test_the_incumbent_is_the_completed_trial_with_the_best_mean(self) -> None:
        racing = started(rule="forgiving", top=0)
        complete(racing, "0000", INCUMBENT)
        complete(racing, "0001", (0.2, 0.2, 0.2, 0.2))
        assert racing.incumbent == "0000"  # the same mean: the first to be completed
        report(racing, "0002", 0.05)
        racing.finished("0002", "stopped")
        report(racing, "0003", 0.0, 0.0, 0.0, 0.0)
        racing.finished("0003", "failed")
        assert racing.incumbent == "0000"
        complete(racing, "0004", (0.1, 0.1, 0.1, 0.2))
        assert racing.incumbent == "0004"
        assert report(racing, "0005", 0.21) == "stop"

    def test_folds_may_come_in_any_order(self) -> None:
        racing = started(rule="forgiving", top=0)
        complete(racing, "0000", INCUMBENT)
        assert racing.report("0001", {2: 0.29}, epoch=10) == "go on"
        assert racing.report("0001", {2: 0.29, 1: 0.33}, epoch=10) == "stop"


class TestTop:
    def test_the_best_share_on_the_same_folds_gets_all_folds(self) -> None:
        """Fold 0 is easy for the incumbent alone: 0.5 is second best on it of four trials.

        Half of the trials are the best two; a quarter is the best one only.
        """
        for top, decision in ((0.5, "go on"), (0.25, "stop")):
            racing = started(rule="forgiving", top=top)
            complete(racing, "0000", (0.1, 0.1, 0.1, 0.1))
            for trial, score in (("0001", 0.6), ("0002", 0.7)):
                report(racing, trial, score)
                racing.finished(trial, "stopped")
            assert report(racing, "0003", 0.5) == decision

    def test_trials_are_compared_on_the_folds_that_both_have(self) -> None:
        """Who has fold 0 only does not count on fold 1: 0.5 is second of two, then of three."""
        racing = started(rule="forgiving", top=0.5)
        complete(racing, "0000", (0.1, 0.1, 0.1, 0.1))
        report(racing, "0001", 0.6)
        assert racing.report("0002", {1: 0.5}, epoch=10) == "stop"
        racing.report("0003", {1: 0.6}, epoch=10)
        assert racing.report("0002", {1: 0.5}, epoch=10) == "go on"

    def test_failed_trials_do_not_count(self) -> None:
        """Without the failed one there are two others, and 0.5 is the second best of three."""
        racing = started(rule="forgiving", top=0.5)
        complete(racing, "0000", (0.1, 0.1, 0.1, 0.1))
        report(racing, "0001", 0.3)
        racing.finished("0001", "failed")
        report(racing, "0002", 0.6)
        assert report(racing, "0003", 0.5) == "go on"

    def test_many_trials_are_kept_apart(self) -> None:
        """More than the table holds at first; of 201 trials 20 are better than 0.2095."""
        racing = started(rule="forgiving", top=0.1)
        complete(racing, "0000", (0.05, 0.05, 0.05, 0.05))
        decisions = {}
        for number in range(1, 201):
            decisions[number] = report(racing, f"{number:04d}", 0.11 + number * 0.005)
            racing.finished(f"{number:04d}", "stopped")
        assert report(racing, "late", 0.2095) == "go on"
        assert report(racing, "later", 0.2145) == "stop"


class TestPaired:
    def test_one_fold_proves_nothing(self) -> None:
        racing = started(rule="paired", top=0)
        complete(racing, "0000", INCUMBENT)
        assert report(racing, "0001", 9.0) == "go on"

    def test_the_p_value_is_that_of_the_corrected_test(self) -> None:
        """Losses of 0.1 and 0.3: mean 0.2, variance 0.02.

        With 1/2 + 1/3, t = 0.2 / sqrt(0.02 * 5/6) = 1.549; with one degree of freedom the
        distribution is Cauchy's: p = 1/2 - arctan(t) / pi = 0.1825.
        """
        losses = np.array([0.1, 0.3])
        assert paired_p_value(losses, correction=1 / 3) == pytest.approx(0.18246, abs=1e-5)
        assert paired_p_value(-losses, correction=1 / 3) == pytest.approx(1 - 0.18246, abs=1e-5)

    def test_equal_losses_leave_no_doubt(self) -> None:
        assert paired_p_value(np.array([0.25, 0.25]), correction=0.25) == 0.0
        assert paired_p_value(np.array([0.0, 0.0]), correction=0.25) == 1.0
        assert paired_p_value(np.array([-0.25, -0.25]), correction=0.25) == 1.0
        assert paired_p_value(np.array([0.5]), correction=0.25) == 1.0

    @pytest.mark.parametrize(("level", "decision"), [(0.19, "stop"), (0.18, "go on")])
    def test_a_trial_is_dropped_below_the_level(self, level: float, decision: str) -> None:
        """Losses of 0.1 and 0.3 against the incumbent, of four folds: p = 0.1825."""
        racing = started(rule="paired", top=0, level=level)
        complete(racing, "0000", INCUMBENT)
        assert report(racing, "0001", 0.4, 0.4) == decision

    def test_accuracies_lose_downwards(self) -> None:
        racing = started("max", rule="paired", top=0, level=0.19)
        complete(racing, "0000", (0.7, 0.9, 0.8, 0.8))
        assert report(racing, "0001", 0.6, 0.6) == "stop"
        assert report(racing, "0002", 0.8, 1.0) == "go on"

    def test_repeats_overlap_as_one_cut_into_folds_does(self) -> None:
        """Two cuts into two folds: 1/2 + 1/(2 - 1) makes t = 0.2 / sqrt(0.03), p = 0.2272."""
        for level, decision in ((0.22, "go on"), (0.23, "stop")):
            racing = started(rule="paired", top=0, level=level, repeats=2)
            complete(racing, "0000", INCUMBENT)
            assert report(racing, "0001", 0.4, 0.4) == decision


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"rule": "forgivin"},
            r"rule must be one of matched, forgiving, paired, got 'forgivin' ",
        ),
        ({"top": 1}, "top must be a number from 0 to below 1, got 1"),
        ({"top": True}, "top must be a number from 0 to below 1, got True"),
        ({"top": "0.1"}, "top must be a number from 0 to below 1, got '0.1'"),
        ({"level": 0}, "level must be a number between 0 and 1, got 0"),
        ({"level": float("nan")}, "level must be a number between 0 and 1, got nan"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Racing(**options)  # type: ignore[arg-type]


def test_a_paired_race_of_two_folds_could_drop_nobody_and_is_refused() -> None:
    with pytest.raises(RecipeError, match="at least 3 folds, not 2, or choose matched"):
        started(num_folds=2, rule="paired")

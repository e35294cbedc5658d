import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console

from rayfold.groups.snapshot import GroupState, Snapshot
from rayfold.report import StudyState, create_progress
from rayfold.report import progress as progress_module
from rayfold.report.progress import LiveTable, PlainLines, Progress, format_score, state_html
from rayfold.results import TrialResult

MakeResult = Callable[..., TrialResult]


def group(number: int, *, trial: str | None = None, ready_at: float = 100.0) -> GroupState:
    return GroupState(
        group=number,
        node="node",
        ready_at=ready_at,
        process_id=1,
        study=None if trial is None else "digits",
        trial=trial,
        fold=None if trial is None else 1,
        epoch=3,
        num_starts=1,
    )


def state(*results: TrialResult, **changes: Any) -> StudyState:
    values = {"name": "digits", "metric": "val_loss", "mode": "min"}
    return StudyState(**{**values, "num_trials": 5, "num_folds": 3, "results": results, **changes})


def pool(*groups: GroupState, num_groups: int | None = None) -> Snapshot:
    return Snapshot(
        groups=groups,
        ready=tuple(range(len(groups) if num_groups is None else num_groups)),
        num_busy=sum(group.trial is not None for group in groups),
        ready_at=min(group.ready_at for group in groups),
    )


class TestStudyState:
    def test_the_time_left_is_that_of_the_folds_left(self, make_result: MakeResult) -> None:
        """6 folds took 60 s in this run; of 15 folds 2 trials have had 6, an open one 4 more."""
        results = (make_result("0000", num_folds=3), make_result("0001", num_folds=3))
        now = state(
            *results,
            num_folds_done=10,
            num_folds_before=4,
            pool=pool(group(0, ready_at=120.0), group(1, ready_at=100.0)),
        )
        assert now.time_left(160.0) == timedelta(seconds=50)

    def test_a_trial_that_ended_early_needs_no_further_folds(
        self, make_result: MakeResult
    ) -> None:
        """A fold took 10 s; of 2 trials one has failed after 1 fold of 3, one is all to do."""
        failed = make_result("0000", None, num_folds=1, status="failed")
        now = state(failed, num_trials=2, num_folds_done=1, pool=pool(group(0)))
        assert now.time_left(110.0) == timedelta(seconds=30)

    def test_where_trials_are_stopped_the_others_will_get_as_many_folds(
        self, make_result: MakeResult
    ) -> None:
        """A fold took 10 s; two trials had 2 folds each on average, and 3 more are to come."""
        stopped = make_result("0000", num_folds=1, status="stopped")
        now = state(
            stopped, make_result("0001", num_folds=3), num_folds_done=4, pool=pool(group(0))
        )
        assert now.time_left(140.0) == timedelta(seconds=60)
        assert "2/5 trials, 1 stopped, best" in now.summary(140.0)

    def test_the_time_left_is_never_below_nothing(self, make_result: MakeResult) -> None:
        results = (make_result("0000", num_folds=3), make_result("0001", num_folds=3))
        now = state(*results, num_trials=1, num_folds_done=6, pool=pool(group(0)))
        assert now.time_left(200.0) == timedelta(0)

    def test_before_the_first_fold_of_this_run_nothing_is_foretold(self) -> None:
        now = state(num_folds_done=4, num_folds_before=4, pool=pool(group(0)))
        assert now.time_left(200.0) is None
        assert state(num_folds_done=4).time_left(200.0) is None

    def test_the_best_is_a_completed_trial(self, make_result: MakeResult) -> None:
        stopped, first = make_result("0000", 0.1, status="stopped"), make_result("0001", 0.5)
        second = make_result("0002", 0.25)
        assert state(stopped).best is None
        assert state(stopped, first, second).best == second
        assert state(stopped, first, second, mode="max").best == first

    def test_the_summary_is_one_line(self, make_result: MakeResult) -> None:
        """6 folds took 60 s, 9 are left."""
        now = state(
            make_result("0000", 0.25, num_folds=3),
            make_result("0001", None, num_folds=3, status="failed"),
            num_folds_done=6,
            pool=pool(group(0, trial="0002"), group(1)),
        )
        assert now.summary(160.0) == (
            "2/5 trials, 1 failed, best val_loss 0.2500 ± 0.1250 (trial 0000), "
            "groups 1 of 2 busy, about 0:01:30 left"
        )

    def test_at_first_groups_are_started(self) -> None:
        assert state().summary(0.0) == "0/5 trials, starting groups"
        assert state().with_pool(pool(group(0))).summary(0.0) == "0/5 trials, groups 0 of 1 busy"

    def test_at_the_end_no_group_is_told_of(self) -> None:
        assert state(ended=True).summary(0.0) == "0/5 trials"


def test_a_parameter_called_name_is_shown_as_what_it_names(make_result: MakeResult) -> None:
    config = {"optimizer.name": "adamw", "optimizer.learning_rate": 0.01}
    assert "optimizer=adamw learning_rate=0.01" in state_html(
        state(make_result("0000", config=config))
    )


def test_a_score_without_an_error_and_no_score_at_all(make_result: MakeResult) -> None:
    assert format_score(make_result("0007", 0.5, standard_error=None), "val_loss") == (
        "val_loss 0.5000"
    )
    assert format_score(make_result("0007", None), "val_loss") == "no val_loss"


class TestPlainLines:
    def lines(self, *states: StudyState) -> list[str]:
        stream = io.StringIO()
        with PlainLines(stream) as progress:
            for shown in states:
                progress.update(shown)
        return stream.getvalue().splitlines()

    @pytest.fixture(autouse=True)
    def _never_a_summary(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(progress_module, "PLAIN_SECONDS", float("inf"))

    def test_every_trial_is_told_once(self, make_result: MakeResult) -> None:
        first, second = make_result("0000"), make_result("0001", 0.25)
        both = state(first, second)
        assert self.lines(state(), state(first), both, both) == [
            "digits: trial 0000 completed, val_loss 0.5000 ± 0.1250, "
            "channels=8 learning_rate=0.01",
            "digits: trial 0001 completed, val_loss 0.2500 ± 0.1250, "
            "channels=8 learning_rate=0.01",
        ]

    def test_a_failed_trial_tells_its_error_with_file_and_line(
        self, make_result: MakeResult
    ) -> None:
        error = (
            "Traceback (most recent call last):\n"
            '  File "/home/ann/net.py", line 7, in forward\n'
            "ValueError: no such layer\n"
        )
        failed = make_result("0000", None, status="failed", error=error)
        assert self.lines(state(), state(failed)) == [
            "digits: trial 0000 failed: ValueError: no such layer (net.py line 7, in forward)"
        ]

    def test_a_stopped_trial_without_a_score_is_told_too(self, make_result: MakeResult) -> None:
        stopped = make_result("0000", None, status="stopped", config={"batch_size": 32})
        assert self.lines(state(), state(stopped)) == [
            "digits: trial 0000 stopped, no val_loss, batch_size=32"
        ]

    def test_trials_of_earlier_runs_are_counted_and_not_told_again(
        self, make_result: MakeResult
    ) -> None:
        before = state(make_result("0000"), make_result("0001"))
        assert self.lines(before, before) == ["digits: resuming after 2 finished trials"]

    def test_a_summary_comes_now_and_then(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(progress_module, "PLAIN_SECONDS", 3600.0)
        assert self.lines(state(), state()) == ["digits: 0/5 trials, starting groups"]
        monkeypatch.setattr(progress_module, "PLAIN_SECONDS", 0.0)
        idle = state(pool=pool(group(0)))
        assert self.lines(state(), state(), state(), idle, idle) == [
            "digits: 0/5 trials, starting groups",
            "digits: 0/5 trials, groups 0 of 1 busy",
        ]


class TestTables:
    def test_the_terminal_shows_trials_and_groups(self, make_result: MakeResult) -> None:
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=True, width=120)
        with LiveTable(console) as progress:
            progress.update(
                state(
                    make_result("0000", 0.25),
                    pool=pool(group(0, trial="0001"), group(1), num_groups=4000),
                )
            )
        text = stream.getvalue()
        for part in (
            "digits: 1/5 trials",
            "0.2500",
            "channels=8 learning_rate=0.01",
            "group 0: trial 0001 fold 1 epoch 3  group 1: idle  and 3998 more",
        ):
            assert part in text

    def test_the_terminal_shows_brackets_as_they_are(self, make_result: MakeResult) -> None:
        stream = io.StringIO()
        with LiveTable(Console(file=stream, width=120)) as progress:
            progress.update(state(make_result("0000", config={"model.block": "[3][/3]"})))
        assert "block=[3][/3]" in stream.getvalue()

    def test_html_shows_the_summary_and_the_best_trials_first(
        self, make_result: MakeResult
    ) -> None:
        results = [make_result(f"{number:04d}", 0.5 - number / 100) for number in range(10)]
        html = state_html(state(*results, num_trials=10))
        assert "<caption><b>digits</b>: 10/10 trials, best val_loss 0.4100" in html
        assert html.count("<tr><td>") == progress_module.SHOWN_TRIALS == 8
        assert html.index("<td>0009</td>") < html.index("<td>0002</td>")
        assert "<td>0001</td>" not in html

    def test_html_is_escaped(self, make_result: MakeResult) -> None:
        result = make_result("0000", config={"model.block": "<script>alert(1)</script>"})
        html = state_html(state(result, name="a<b>", metric="val_<i>"))
        assert "block=&lt;script&gt;alert(1)&lt;/script&gt;" in html
        assert "a&lt;b&gt;" in html
        assert "<th>val_&lt;i&gt;</th>" in html
        for tag in ("<script>", "<i>"):
            assert tag not in html


def test_the_progress_suits_where_the_output_goes(capsys: pytest.CaptureFixture[str]) -> None:
    """Under pytest the output is no terminal and no notebook."""
    assert type(create_progress(False)) is Progress
    progress = create_progress(True)
    assert type(progress) is PlainLines
    with create_progress(False) as nothing:
        nothing.update(state())
    assert capsys.readouterr().out == ""

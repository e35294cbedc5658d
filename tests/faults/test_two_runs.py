"""The same study started twice, and two studies at once."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.conftest import SmallStudy


def test_a_study_that_runs_is_refused_and_another_one_runs_beside_it(
    study: "SmallStudy",
) -> None:
    first = study.start()
    first.wait_until(lambda: study.count("run") >= 1)
    again = study.run()
    assert again.process.returncode == 2
    [line] = again.output.splitlines()
    assert f"is being written by process {first.process.pid}" in line
    other = study.run("--set", "study=other")
    assert other.process.returncode == 0, other.output
    assert first.status() == 0, first.output
    assert first.leaves_nothing()
    assert other.leaves_nothing()
    study.check_whole({})

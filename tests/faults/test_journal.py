"""A journal that a crash has torn, and one in which a bit has flipped."""

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.conftest import SmallStudy


def test_a_torn_line_is_cut_off_and_a_flipped_bit_is_refused(study: "SmallStudy") -> None:
    command = study.start()
    command.wait_until(lambda: study.count("fold") >= 1)
    command.send(signal.SIGKILL)
    command.status()
    before, whole = study.results, study.journal.read_bytes()
    study.journal.write_bytes(whole[: len(whole) - 20])
    command = study.run()
    assert command.process.returncode == 0, command.output
    assert "cut off a torn last line" in command.output
    study.check_whole(before)

    whole = study.journal.read_bytes()
    place = len(whole) // 2
    study.journal.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    command = study.run()
    assert command.process.returncode == 2
    [line] = command.output.splitlines()
    assert line.startswith(f"rayfold: {study.journal} line ")
    assert "is damaged" in line
    study.journal.write_bytes(whole)
    assert study.run().process.returncode == 0
    study.check_whole(before)

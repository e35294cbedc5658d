"""Commands whose standard output is closed or full, or that a signal ends."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

WAITING = """
import signal, sys, tempfile
from rayfold.cli import app, main

@app.command()
def wait() -> None:
    with tempfile.TemporaryDirectory(dir="."):
        print("ready", flush=True)
        signal.pause()

main()
"""


def rayfold(redirection: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ``rayfold --version``, its output redirected by a shell."""
    command = f"{sys.executable} -c 'from rayfold.cli import main; main()' --version {redirection}"
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False
    )


def test_what_is_printed_to_a_closed_output_goes_nowhere(tmp_path: Path) -> None:
    done = rayfold(">&-", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    done = rayfold("> /dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (
        75,
        "rayfold: standard output cannot be written (No space left on device).\n",
    )


def test_what_code_raises_outside_of_exceptions_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("class Gone(BaseException): ...\ndef go(): raise Gone\n")
    script = "from net import go; from rayfold.cli import app, main; app.command()(go); main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "go"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        2,
        "rayfold: code that was loaded has raised Gone (net.py line 2, in go).\n",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_command_as_ctrl_c_does(number: signal.Signals, tmp_path: Path) -> None:
    """Nothing half-done stays behind."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, "wait"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # these may run under nohup
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip()) == (130, "")
    assert list(tmp_path.iterdir()) == []

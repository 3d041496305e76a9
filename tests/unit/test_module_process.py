"""A forked process has what it was given, and nothing else of its parent's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from zbuild.module_process import fork


def test_the_exit_code_is_what_the_function_returns() -> None:
    process = fork(lambda: 7, kept=[])
    assert (process.wait(20.0), process.wait()) == (7, 7)


def test_it_has_the_standard_streams_and_what_it_was_given(tmp_path: Path) -> None:
    given, other = os.pipe()
    report = os.open(tmp_path / "report", os.O_WRONLY | os.O_CREAT)

    def run() -> int:
        listing = {int(name) for name in os.listdir("/proc/self/fd")}
        still_open = sorted(number for number in listing if _is_open(number))
        os.write(report, f"{still_open} {os.read(0, 1)!r}".encode())
        return 0

    assert fork(run, kept=[given, report]).wait(20.0) == 0
    for descriptor in (given, other, report):
        os.close(descriptor)
    assert (tmp_path / "report").read_text() == f"{sorted({0, 1, 2, given, report})} b''"


def _is_open(descriptor: int) -> bool:
    """The descriptor that listed the directory is not any more."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_an_exception_is_shown_and_fails_the_process(capfd: pytest.CaptureFixture[str]) -> None:
    def run() -> int:
        raise ValueError("of the child")

    assert fork(run, kept=[]).wait(20.0) == 1
    assert "ValueError: of the child" in capfd.readouterr().err


def test_a_process_that_a_signal_has_ended() -> None:
    def run() -> int:
        signal.pause()
        return 0

    process = fork(run, kept=[])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(20.0) == -signal.SIGKILL
    process.kill()


def test_handlers_of_signals_stay_behind_and_ignored_ones_stay_ignored() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None), signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        process = fork(lambda: 5 if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL else 6, kept=[])
        other = fork(lambda: 5 if signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN else 6, kept=[])
    finally:
        signal.signal(signal.SIGUSR1, before[0])
        signal.signal(signal.SIGUSR2, before[1])
    assert (process.wait(20.0), other.wait(20.0)) == (5, 5)


def test_what_the_parent_has_buffered_is_written_once() -> None:
    code = (
        "import sys; from zbuild.module_process import fork\n"
        "sys.stdout.write('parent '); fork(lambda: print('child') or 0, []).wait()"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "child\nparent "

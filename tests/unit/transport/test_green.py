"""A process under gevent that has lost a greenlet ends, and does not limp on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from zbuild.errors import ExitCode
from zbuild.module_process import module_environment

LOSE = """
import gevent, gevent.threadpool
from zbuild.transport.green import fail_fast

def broken(): raise MemoryError("lost")
def left(): raise gevent.GreenletExit

fail_fast()
{how}
gevent.sleep(0.1)
print("went on")
"""


@pytest.mark.parametrize("how", ["gevent.spawn(broken)", "gevent.get_hub().loop.run_callback(broken)"])
def test_an_error_that_nobody_handles_ends_the_process(how: str) -> None:
    run = run_python(LOSE.format(how=how))

    assert run.returncode == ExitCode.INTERNAL
    assert "MemoryError: lost" in run.stderr
    assert "went on" not in run.stdout


@pytest.mark.parametrize(
    "how",
    [
        "gevent.spawn(left)",
        """
try: gevent.threadpool.ThreadPool(1).apply(broken)
except MemoryError: print("raised where it was waited for")
""",
    ],
    ids=["a greenlet that leaves", "an error in a thread that is waited for"],
)
def test_what_is_no_loss_does_not(how: str) -> None:
    run = run_python(LOSE.format(how=how))

    assert run.returncode == 0, run.stderr
    assert "went on" in run.stdout


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=module_environment(), capture_output=True, text=True, timeout=30, check=False
    )

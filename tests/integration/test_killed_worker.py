"""A worker that is killed takes its sandboxes along, at whatever point they are."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live_processes import is_alive, processes_naming
from tests.polling import wait_until

pytestmark = pytest.mark.needs("bubblewrap")

ROOT = Path(__file__).parents[2]
NAP = f"3600.{os.getpid()}"
"""Seconds for ``sleep``, by which this run's processes are known."""

WORKER = """
import sys
from pathlib import Path
from tests.integration.sandbox_driver import Slot
from zbuild.sandbox.spawner import start_spawner
spawner = start_spawner()
slot = Slot(spawner, Path(sys.argv[1]))
slot.start(f"setsid sleep {sys.argv[2]} & sleep {sys.argv[2]}")
print(spawner.pid, flush=True)
sys.stdin.read()
"""


@contextmanager
def _started_worker(directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A worker that has asked for a sandboxed command, and the PID of its spawner."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(directory), NAP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as worker:
        assert worker.stdout is not None
        spawner_pid = int(worker.stdout.readline())
        yield worker, spawner_pid
        worker.kill()
    wait_until(lambda: not is_alive(spawner_pid), "the spawner to end")
    assert processes_naming(NAP) == [], "what outlives the spawner"


def _naps() -> list[str]:
    """The two sleeps themselves: bubblewrap and the shell, before and beside them, name them as well."""
    return [line for line in processes_naming(f"sleep {NAP}") if line.startswith("sleep ")]


def test_while_its_command_runs(tmp_path: Path) -> None:
    with _started_worker(tmp_path):
        wait_until(lambda: len(_naps()) == 2, lambda: f"two sleeps beside {processes_naming(NAP)}")


@pytest.mark.parametrize("delay_ms", [0, 2, 4, 6, 8, 12, 16, 24])
def test_while_its_sandbox_is_set_up(tmp_path: Path, delay_ms: int) -> None:
    """bubblewrap is known to this worker only by its PID until it has named its child."""
    with _started_worker(tmp_path):
        time.sleep(delay_ms / 1000)

"""Commands that run here, and how they end."""

from __future__ import annotations

import select
import subprocess
from pathlib import Path

import pytest

from tests.polling import wait_until
from zbuild.client import local_process
from zbuild.client.local_process import LocalOutcome, LocalProcesses

DEADLINE_S = 20.0


def outcome_of(processes: LocalProcesses, command: str) -> LocalOutcome:
    descriptor = processes.start(1, command, is_console=False)
    while True:
        assert select.select([descriptor], [], [], DEADLINE_S)[0], "the command did not end"
        outcome = processes.read(descriptor)
        if outcome is not None:
            return outcome


def test_output_is_kept_in_the_order_of_writing() -> None:
    outcome = outcome_of(LocalProcesses(), "echo one; echo two >&2; printf '\\351'; exit 3")
    assert outcome == LocalOutcome(1, 3, b"one\ntwo\n\xe9")


def test_a_command_that_a_signal_ends_has_the_shells_code() -> None:
    assert outcome_of(LocalProcesses(), "kill -9 $$").exit_code == 128 + 9


def test_stop_lets_a_command_clean_up_as_ninja_does(tmp_path: Path) -> None:
    """Compilers remove their temporary files on SIGINT; on SIGKILL they stayed in /tmp."""
    processes = LocalProcesses()
    temporary = tmp_path / "temporary"
    processes.start(1, f"trap 'rm {temporary}; exit 1' INT; touch {temporary}; sleep 60 & wait", is_console=False)
    wait_until(temporary.exists)
    processes.stop()
    assert not temporary.exists()
    assert len(processes) == 0


def test_stop_kills_what_does_not_care_with_all_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_process, "LOCAL_STOP_S", 0.2)
    processes = LocalProcesses()
    ready = tmp_path / "ready"
    mark = f"31.{tmp_path.name}"
    processes.start(1, f"trap '' INT; touch {ready}; sh -c 'sleep 60; : {mark}'; sleep 60", is_console=False)
    wait_until(ready.exists)
    processes.stop()
    assert len(processes) == 0
    assert subprocess.run(["pgrep", "-f", mark], stdout=subprocess.DEVNULL, check=False).returncode == 1

"""``zbuild exec`` and ``zbuild status``."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.integration.farm import Farm
from tests.integration.tree import Run, run_zbuild

pytestmark = pytest.mark.needs("bubblewrap", "gcc")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The directory that commands run in."""
    directory = tmp_path / "here"
    directory.mkdir()
    return directory


class Execute:
    """Calls ``zbuild exec`` in one directory."""

    def __init__(self, directory: Path, farm: Farm) -> None:
        self._directory = directory
        self._farm = farm

    def __call__(self, *arguments: str) -> Run:
        return run_zbuild("exec", "--coordinator", self._farm.endpoint, *arguments, cwd=self._directory)


@pytest.fixture
def execute(here: Path, shared_farm: Farm) -> Execute:
    return Execute(here, shared_farm)


def test_what_the_command_prints_and_its_exit_code_are_passed_through(execute: Execute) -> None:
    run = execute("--", "sh", "-c", "echo to stdout; echo to stderr >&2; exit 42")

    assert (run.exit_code, run.stdout, run.stderr) == (42, "to stdout\n", "to stderr\n")


def test_inputs_are_there_and_outputs_come_back(here: Path, execute: Execute, token: str) -> None:
    (here / "in").mkdir()
    (here / "in/file.txt").write_text(token)

    run = execute(
        "--input", "in", "--output", "out/copy.txt", "--", "sh", "-c", "mkdir -p out; cat in/* > out/copy.txt"
    )

    assert run.exit_code == 0, run.stderr
    assert (here / "out/copy.txt").read_text() == token


def test_a_file_that_is_no_input_is_not_there(here: Path, execute: Execute) -> None:
    (here / "secret.txt").write_text("x")

    assert "secret" not in execute("--", "ls", "-A").stdout


def test_there_is_no_network_in_the_sandbox(execute: Execute) -> None:
    run = execute("--", "python3", "-c", "import socket; print([name for _, name in socket.if_nameindex()])")

    assert run.stdout in ("['lo']\n", "[]\n")


def test_the_same_command_again_is_a_cache_hit(here: Path, execute: Execute, shared_farm: Farm, token: str) -> None:
    for _ in range(2):
        before = shared_farm.status()["counters"].get("executed", 0)
        run = execute("--output", "random", "--", "sh", "-c", f"cat /proc/sys/kernel/random/uuid > random # {token}")
        assert run.exit_code == 0
        executed = shared_farm.status()["counters"]["executed"] - before
    assert executed == 0


def test_files_of_the_kernel_are_the_sandboxes_own(execute: Execute) -> None:
    run = execute("--", "sh", "-c", "cat /proc/self/comm /dev/null; ls /proc/self/fd | wc -l")

    assert run.exit_code == 0, run.stderr
    assert run.stdout.splitlines()[0] == "cat"


def test_words_reach_the_command_as_they_are(execute: Execute) -> None:
    words = ["a b", "$HOME", "*", "'\"", "\\", "", "--input", "é"]

    run = execute("--", "python3", "-c", "import sys; print(sys.argv[1:])", *words)

    assert run.stdout == f"{words}\n"


def test_a_missing_input_is_named(execute: Execute) -> None:
    run = execute("--input", "nowhere", "--", "true")

    assert run.exit_code == 102
    assert "--input nowhere: no such file or directory" in run.stderr


def test_an_output_elsewhere_is_refused(execute: Execute, tmp_path: Path) -> None:
    run = execute("--output", "../outside", "--", "touch", "../outside")

    assert run.exit_code == 102
    assert "../outside" in run.stderr
    assert not (tmp_path / "outside").exists()


def test_an_output_that_is_not_made_is_named(here: Path, execute: Execute) -> None:
    run = execute("--output", "never", "--", "true")

    assert run.exit_code > 100
    assert "never" in run.stderr
    assert "/zb/" not in run.stderr
    assert os.listdir(here) == []


def test_an_unknown_program_is_named(execute: Execute) -> None:
    run = execute("--", "no-such-program-here")

    assert run.exit_code > 100
    assert "no-such-program-here" in run.stderr


def test_without_a_command_the_usage_is_shown(execute: Execute) -> None:
    run = execute("--input", "x")

    assert run.exit_code == 2
    assert "usage: zbuild exec" in run.stderr


def test_it_needs_no_farm(here: Path) -> None:
    run = run_zbuild("exec", "--", "echo", "alone", cwd=here)

    assert (run.exit_code, run.stdout) == (0, "alone\n")


def test_status_without_a_broker_says_how_to_name_one(here: Path) -> None:
    run = run_zbuild("status", cwd=here)

    assert run.exit_code == 2
    assert "--coordinator" in run.stderr


def test_status_is_a_table_for_people(here: Path, shared_farm: Farm) -> None:
    run = run_zbuild("status", "--coordinator", shared_farm.endpoint, cwd=here)

    assert run.exit_code == 0
    assert "2 workers, 4 slots" in run.stdout
    assert re.search(r"^worker-1 +2 .* hermetic, (cgroup v[12]|process watch)(, degraded)?$", run.stdout, re.MULTILINE)


def test_status_of_a_broker_that_is_not_there_fails_within_its_bound(here: Path) -> None:
    run = run_zbuild("status", "--coordinator", f"ipc://{here}/nobody", cwd=here)

    assert run.exit_code == 32
    assert "no broker has answered" in run.stderr

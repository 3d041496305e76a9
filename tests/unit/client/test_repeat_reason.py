"""What is run again here, where all files are, and what is the command's own failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.inputs.build_tree import BuildTree
from zbuild.client.remote_job import RemoteOutcome
from zbuild.client.repeat_reason import fallback_reason, reason_to_repeat_here
from zbuild.errors import FarmUnreachable, NoEligibleWorker, NoWorkers, StoreFailed, WorkerLost

pytestmark = pytest.mark.needs("gcc")


@pytest.fixture
def tree(tmp_path: Path) -> BuildTree:
    made = BuildTree(tmp_path)
    made.write("a.c")
    return made


def failed(tree: BuildTree, command: str, said: bytes, error_code: int = 0) -> str:
    return reason_to_repeat_here(
        RemoteOutcome(
            key=1,
            exit_code=1,
            stdout=said,
            stderr=b"",
            error="",
            error_code=error_code,
            is_cached=False,
            attempts=1,
            stolen_from="",
            rounds=0,
            analysis=tree.remote(command, "a.o", inputs=("../a.c",)),
            result=None,
            undeclared=(),
            suspected=(),
        )
    )


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"a.c:1:1: error: expected identifier", ""),
        (b"a.c:1:10: fatal error: x.h: No such file or directory", "found no such file in the sandbox"),
        (b"/usr/bin/ld: cannot find -lz: No such file or directory", "found no such file in the sandbox"),
        (b"/tmp/x.s: Fatal error: can't write 9 bytes to section .text: No space left on device", "found no space"),
    ],
)
def test_a_compile_is_believed_unless_it_lacked_something(tree: BuildTree, said: bytes, reason: str) -> None:
    found = failed(tree, "cc -c ../a.c -o a.o", said)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_a_program_behind_a_compile_is_not_believed(tree: BuildTree) -> None:
    assert failed(tree, "cc -c ../a.c -o a.o && python3 -c 0", b"whatever")


def test_a_failure_of_the_farm_is_not_repeated_here(tree: BuildTree) -> None:
    assert not failed(tree, "cc -c ../a.c -o a.o", b"No such file or directory", NoEligibleWorker.code)


def test_local_fallback_is_for_a_farm_that_cannot_and_not_for_actions_that_kill_workers() -> None:
    assert all(fallback_reason(kind.code) for kind in (FarmUnreachable, NoWorkers, NoEligibleWorker))
    assert not any(fallback_reason(code) for code in (0, WorkerLost.code, StoreFailed.code))

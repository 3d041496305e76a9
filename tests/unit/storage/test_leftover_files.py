"""What a command has left in its stage beside its outputs, whatever it has done to hide or to multiply it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zbuild.limits import LEFTOVER_FILES
from zbuild.storage.blob_files import BLOB_MTIME_NS
from zbuild.storage.leftover_files import leftover_files
from zbuild.storage.staging import StagePlan

BUILD = "/zb/build"


@pytest.fixture
def plan(tmp_path: Path) -> StagePlan:
    (tmp_path / "zb/build/sub").mkdir(parents=True)
    return StagePlan(str(tmp_path), (), BUILD, BUILD)


def left(plan: StagePlan, *inputs: str) -> tuple[str, ...]:
    return leftover_files(plan, {f"{BUILD}/{name}" for name in inputs}, {f"{BUILD}/sub"})


def make(plan: StagePlan, *names: str) -> None:
    for name in names:
        Path(plan.location(f"{BUILD}/{name}")).write_text("")


def test_files_and_symlinks_are_named_and_inputs_are_not(plan: StagePlan) -> None:
    make(plan, "b", "sub/a", "input")
    os.symlink("/etc", plan.location(f"{BUILD}/link"))
    os.mkfifo(plan.location(f"{BUILD}/fifo"))
    os.utime(plan.location(f"{BUILD}/input"), ns=(BLOB_MTIME_NS, BLOB_MTIME_NS))
    assert left(plan, "input") == (f"{BUILD}/b", f"{BUILD}/link", f"{BUILD}/sub/a")


def test_an_input_that_was_changed_and_a_directory_that_is_empty_are_named(plan: StagePlan) -> None:
    make(plan, "input")
    os.makedirs(plan.location(f"{BUILD}/new/deep"))
    assert left(plan, "input") == (f"{BUILD}/input", f"{BUILD}/new/deep/")


def test_what_cannot_be_said_or_seen_is_left_out(plan: StagePlan) -> None:
    make(plan, "a", "sub/hidden", os.fsdecode(b"caf\xe9"))
    Path(plan.location(f"{BUILD}/sub")).rename(plan.location(f"{BUILD}/gone"))
    assert leftover_files(StagePlan(plan.root, (), f"{BUILD}/sub", BUILD), (), ()) == ()
    assert left(plan) == (f"{BUILD}/a", f"{BUILD}/gone/hidden")


def test_the_answer_is_bounded(plan: StagePlan) -> None:
    make(plan, *(f"f{number:05}" for number in range(LEFTOVER_FILES + 5)))
    assert len(left(plan)) == LEFTOVER_FILES

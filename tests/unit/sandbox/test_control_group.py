"""What is written where in a control group of version 2, on a kernel of plain files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zbuild.sandbox.control_group import ControlGroup
from zbuild.sandbox.limit_mechanism import LimitChoice, LimitMechanism
from zbuild.sandbox.spawn_protocol import Limits

FILES = {
    "cgroup.procs": "",
    "cpuset.cpus": "",
    "memory.events": "low 0\nhigh 0\nmax 3\noom 2\noom_kill 2\n",
    "memory.max": "",
    "memory.oom.group": "0",
    "memory.peak": "1000",
    "pids.events": "max 5\n",
    "pids.max": "",
}


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which new directories are born with the kernel's files."""
    make = os.mkdir

    def mkdir(path: str, mode: int = 0o777) -> None:
        make(path, mode)
        for name, text in FILES.items():
            Path(path, name).write_text(text)

    monkeypatch.setattr(os, "mkdir", mkdir)
    return tmp_path


@pytest.fixture
def group(parent: Path) -> ControlGroup:
    directories = dict.fromkeys(("memory", "pids", "cpuset"), str(parent))
    return ControlGroup(LimitChoice(LimitMechanism.CGROUP_V2, directories), "g")


def test_the_bounds_are_written(parent: Path, group: ControlGroup) -> None:
    group.begin(Limits(memory_bytes=12345678, processes=64), frozenset({2, 0}))
    written = {name: (parent / "g" / name).read_text() for name in ("memory.max", "pids.max", "cpuset.cpus")}
    assert written == {"memory.max": "12345678", "pids.max": "64", "cpuset.cpus": "0,2"}


def test_no_bound_takes_away_the_last_one(parent: Path, group: ControlGroup) -> None:
    group.begin(Limits(), frozenset())
    assert (parent / "g/memory.max").read_text() == "max"
    assert (parent / "g/pids.max").read_text() == "max"


def test_one_process_that_the_kernel_kills_takes_all_with_it(parent: Path, group: ControlGroup) -> None:
    assert (parent / "g/memory.oom.group").read_text() == "1"


def test_what_the_last_command_did_is_not_held_against_the_next(parent: Path, group: ControlGroup) -> None:
    group.begin(Limits(), frozenset())
    assert (group.read().kills, group.read().refusals, group.read().peak_memory_bytes) == (2, 5, 1000)
    group.begin(Limits(), frozenset())
    assert (group.read().kills, group.read().refusals, group.read().peak_memory_bytes) == (0, 0, 0)
    (parent / "g/memory.events").write_text("oom 3\noom_kill 4\n")
    (parent / "g/pids.events").write_text("max 6\n")
    assert (group.read().kills, group.read().refusals, group.read().peak_memory_bytes) == (2, 1, 1000)


def test_this_process_enters(parent: Path, group: ControlGroup) -> None:
    group.enter()
    assert (parent / "g/cgroup.procs").read_text() == "0"

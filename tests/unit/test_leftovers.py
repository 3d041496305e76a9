"""The check for what tests leave behind sees what it is for."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import leftovers

WAIT = [sys.executable, "-c", "import sys; sys.stdin.read()"]
"""A process that lives until its standard input is closed."""


@pytest.fixture
def session() -> str:
    """A mark that no process of the real run carries."""
    return uuid.uuid4().hex


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The temporary directory of a run."""
    path = tmp_path / "run"
    path.mkdir()
    return path


@pytest.fixture
def child(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A process without any environment."""
    with subprocess.Popen(WAIT, stdin=subprocess.PIPE, env={}) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _pids(session: str, *directories: Path) -> set[int]:
    return {pid for pid, _ in leftovers.processes_of(session, directories)}


def test_a_child_is_seen(session: str, place: Path, child: subprocess.Popen[bytes]) -> None:
    assert child.pid in _pids(session, place)


@pytest.mark.parametrize("sign", ["environment", "command line"])
def test_an_orphan_is_seen_by_its(sign: str, session: str, place: Path) -> None:
    reader, writer = os.pipe()
    environment = {leftovers.MARKER: session} if sign == "environment" else {}
    arguments = [str(place)] if sign == "command line" else []
    code = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:], stdout=2).pid)"
    try:
        started = subprocess.run(
            [sys.executable, "-c", code, *WAIT, *arguments],
            stdin=reader,
            stdout=subprocess.PIPE,
            env=environment,
            check=True,
        )
        orphan = int(started.stdout)
        assert orphan in _pids(session, place)
        assert orphan not in _pids(uuid.uuid4().hex, place / "other")
    finally:
        os.close(writer)
        os.close(reader)
    assert leftovers.left_behind(session, place, [place], grace_s=10) == []


def test_this_process_and_those_of_others_are_not_counted(session: str, place: Path) -> None:
    pids = _pids(session, place)
    assert os.getpid() not in pids
    assert 1 not in pids


def test_a_file_is_seen(session: str, place: Path) -> None:
    (place / "forgotten").write_text("")
    lines = leftovers.left_behind(session, place, [place], grace_s=0)
    assert f"temporary file {place / 'forgotten'}" in lines


@pytest.mark.needs("root")
def test_a_mount_is_seen(session: str, place: Path) -> None:
    mount = place / "mount"
    mount.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "none", mount], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"root may not mount here: {mounted.stderr.strip()}")
    try:
        assert f"mount {mount}" in leftovers.left_behind(session, place, [place], grace_s=0)
    finally:
        subprocess.run(["umount", mount], check=True)

"""What a test run may leave behind on a machine, and must not: processes, mounts, temporary files."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

MARKER = "ZBUILD_TEST_SESSION"
"""An environment variable that all processes of a run inherit, so that orphans are known for ours."""

POLL_S = 0.05


def left_behind(session: str, temporary: Path, directories: Sequence[Path], grace_s: float) -> list[str]:
    """A line for each thing that a run left, once ``grace_s`` seconds were not enough for it to go.

    Args:
        session: the value of MARKER in this run.
        temporary: the run's TMPDIR, which should be empty at its end.
        directories: all directories that only this run uses, ``temporary`` among them.
    """
    deadline_s = time.monotonic() + grace_s
    while lines := list(_present(session, temporary, directories)):
        if time.monotonic() > deadline_s:
            break
        time.sleep(POLL_S)
    return lines


def _present(session: str, temporary: Path, directories: Sequence[Path]) -> Iterator[str]:
    for pid, command in processes_of(session, directories):
        yield f"process {pid}: {command}"
    with open("/proc/self/mountinfo") as file:
        for mount in (Path(line.split()[4]) for line in file):
            if any(mount.is_relative_to(directory) for directory in directories):
                yield f"mount {mount}"
    for entry in sorted(temporary.iterdir()):
        yield f"temporary file {entry}"


def processes_of(session: str, directories: Sequence[Path]) -> Iterator[tuple[int, str]]:
    """(pid, command line) of every live process of the run but this one.

    One is known by MARKER in its environment; or, where that was cleared as for a sandbox, by being a
    descendant of this process or by naming one of the run's directories on its command line.
    """
    parents = {pid: parent for pid, parent, state in _process_table() if state != "Z"}
    marker = f"{MARKER}={session}".encode()
    names = [os.fsencode(directory) for directory in directories]
    for pid in sorted(parents):
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it has ended meanwhile, or belongs to another user
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if (
                marker in environment
                or any(name in command for name in names)
                or _descends(pid, ancestor=os.getpid(), parents=parents)
            ):
                yield pid, command.replace(b"\0", b" ").decode(errors="replace").strip()


def _process_table() -> Iterator[tuple[int, int, str]]:
    """(pid, parent's pid, state) of every process; see proc_pid_stat(5)."""
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError):
                match = re.search(r"\) (\S) (\d+) ", Path(f"/proc/{entry}/stat").read_text(errors="replace"))
                if match:
                    yield int(entry), int(match[2]), match[1]


def _descends(pid: int, *, ancestor: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == ancestor:
            return True
    return False

"""The processes of this machine, as proc(5) shows them. One that ends while it is looked at has ended."""

from __future__ import annotations

import os
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter if it is reaped between open and read
        return False


def processes_below(pid: int) -> list[int]:
    """The PIDs of all descendants that live now."""
    try:
        children = list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [each for child in children for each in (child, *processes_below(child))]


def processes_naming(text: str) -> list[str]:
    """Command lines of all processes but this one that hold ``text``; words are parted by one space."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            try:
                command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in command:
                found.append(command)
    return found

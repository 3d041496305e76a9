"""How much memory processes hold, from /proc (proc(5))."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_KIB = 1024


def resident_bytes(pid: int) -> int:
    """The resident set, shared pages included."""
    return _field(Path(f"/proc/{pid}/status"), "VmRSS")


def proportional_bytes(pids: Iterable[int]) -> int:
    """The proportional set of all that live: a page that n processes share counts 1/n for each."""
    total = 0
    for pid in pids:
        try:
            total += _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * _KIB
    return 0

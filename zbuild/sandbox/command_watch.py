"""Looks at a running command from outside: what its processes and files have become, against its limits."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator

from zbuild.limits import DISK_WATCH_S, SEEN_PROCESSES
from zbuild.sandbox.control_group import ControlGroup
from zbuild.sandbox.spawn_protocol import Limits
from zbuild.sandbox.verdict import Consumption, exceeded

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PRIVATE = ("/tmp", "/home/zbuild")
"""File systems of a sandbox that lie in memory and have a size."""


class CommandWatch:
    """Of one command. Looking costs 0.05 ms for one of a few processes.

    Args:
        group: where the kernel enforces memory and processes; None has them watched here.

    Attributes:
        peak_memory_bytes: the most that was seen, where this watches memory.
    """

    def __init__(self, limits: Limits, group: ControlGroup | None) -> None:
        self.peak_memory_bytes = 0
        self._limits = limits
        self._group = group
        self._disk = _DiskWatch(limits.disk_path, limits.disk_bytes)

    def look(self, pid: int, init_pid: int) -> str:
        """The limit that is exceeded now, or "".

        Args:
            pid: the process that was started.
            init_pid: PID 1 of its sandbox, or 0.
        """
        if self._group is not None:
            reading = self._group.read()
            used = Consumption(
                memory_bytes=reading.peak_memory_bytes,
                kills=reading.kills,
                refusals=reading.refusals,
                disk_bytes=self._disk.size_bytes(),
                full=_full_file_system(init_pid),
            )
            return exceeded(self._limits, used)
        # A fork bomb must not grow faster than it is looked at.
        processes = list(itertools.islice(_tree(pid), (self._limits.processes or SEEN_PROCESSES) + 1))
        private_bytes = sum(map(_private_bytes, processes))
        self.peak_memory_bytes = max(self.peak_memory_bytes, private_bytes)
        used = Consumption(
            memory_bytes=private_bytes,
            processes=len(processes),
            disk_bytes=self._disk.size_bytes(),
            full=_full_file_system(init_pid),
        )
        return exceeded(self._limits, used)

    def last_look(self) -> str:
        """The limit that the kernel has enforced by the end of the command, or ""."""
        if self._group is None:
            return ""
        reading = self._group.read()
        used = Consumption(memory_bytes=reading.peak_memory_bytes, kills=reading.kills, refusals=reading.refusals)
        return exceeded(self._limits, used)


def processor_time_s(pid: int) -> float:
    """CPU time of a process and all below it up to now, with that of the processes that they have waited for."""
    ticks = sum(map(_ticks, itertools.islice(_tree(pid), SEEN_PROCESSES)))
    return ticks / os.sysconf("SC_CLK_TCK")


class _DiskWatch:
    """The size of a tree, measured only when so much was written to its file system that it can be too large."""

    def __init__(self, path: str, limit_bytes: int) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._free_bytes: int | None = None
        self._next_s = 0.0

    def size_bytes(self) -> int:
        if not (self._path and self._limit_bytes):
            return 0
        try:
            space = os.statvfs(self._path)
        except OSError:
            return self._size_bytes
        free_bytes = space.f_bfree * space.f_frsize
        now_s = time.monotonic()
        room_bytes = self._limit_bytes - self._size_bytes
        if self._free_bytes is None or self._free_bytes - free_bytes >= room_bytes or now_s >= self._next_s:
            self._size_bytes = sum(_allocated_bytes(self._path))
            self._free_bytes = free_bytes
            self._next_s = now_s + DISK_WATCH_S
        return self._size_bytes


def _allocated_bytes(directory: str) -> Iterator[int]:
    for parent, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                yield os.lstat(f"{parent}/{name}").st_blocks * 512


def _full_file_system(init_pid: int) -> str:
    if not init_pid:
        return ""
    for path in _PRIVATE:
        with contextlib.suppress(OSError):
            space = os.statvfs(f"/proc/{init_pid}/root{path}")
            if space.f_flag & os.ST_RDONLY == 0 and (space.f_bavail == 0 or space.f_favail == 0):
                return path
    return ""


def _tree(pid: int) -> Iterator[int]:
    """A process and all below it, as far as they are found in time."""
    yield pid
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                for child in file.read().split():
                    yield from _tree(int(child))


def _ticks(pid: int) -> int:
    """utime, stime, cutime and cstime: fields 14 to 17 of /proc/PID/stat (proc(5)), 12 to 15 after the name."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/stat", "rb") as file:
        return sum(map(int, file.read().rpartition(b")")[2].split()[11:15]))
    return 0


def _private_bytes(pid: int) -> int:
    """Pages of its own: what it shares, files above all, would count once for each process."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/statm", "rb") as file:
        _, resident, shared = file.read().split()[:3]
        return (int(resident) - int(shared)) * _PAGE_BYTES
    return 0

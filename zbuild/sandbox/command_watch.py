"""Looks at a running command from outside: what its processes and files have become, against its limits."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator, Sequence

from zbuild.limits import COMMAND_FILES, DISK_LOOK_S, DISK_WATCH_S, KIB, SEEN_PROCESSES
from zbuild.sandbox.control_group import ControlGroup
from zbuild.sandbox.spawn_protocol import Limits
from zbuild.sandbox.tree_size import TreeSize
from zbuild.sandbox.verdict import Consumption, exceeded

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
        self._disk.look(pid)
        tree = self._disk.tree
        if self._group is not None:
            reading = self._group.read()
            used = Consumption(
                memory_bytes=reading.peak_memory_bytes,
                kills=reading.kills,
                refusals=reading.refusals,
                disk_bytes=tree.size_bytes,
                files=tree.entries,
                is_too_deep=tree.is_too_deep,
                full=_full_file_system(init_pid),
            )
            return exceeded(self._limits, used)
        # A fork bomb must not grow faster than it is looked at.
        processes = list(itertools.islice(_tree(pid), (self._limits.processes or SEEN_PROCESSES) + 1))
        memory_bytes = _memory_bytes(processes, self._limits.memory_bytes)
        self.peak_memory_bytes = max(self.peak_memory_bytes, memory_bytes)
        used = Consumption(
            memory_bytes=memory_bytes,
            processes=len(processes),
            disk_bytes=tree.size_bytes,
            files=tree.entries,
            is_too_deep=tree.is_too_deep,
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

    def close(self) -> None:
        """The command is gone."""
        self._disk.tree.close()


def processor_time_s(pid: int) -> float:
    """CPU time of a process and all below it up to now, with that of the processes that they have waited for."""
    ticks = sum(map(_ticks, itertools.islice(_tree(pid), SEEN_PROCESSES)))
    return ticks / os.sysconf("SC_CLK_TCK")


class _DiskWatch:
    """The size of a tree, measured only when so much was written to its file system that it can be too large."""

    def __init__(self, path: str, limit_bytes: int) -> None:
        self.tree = TreeSize(path)
        self._path = path if limit_bytes else ""
        self._limit_bytes = limit_bytes
        self._free = (0, 0)
        self._next_s = 0.0

    def look(self, pid: int) -> None:
        """Begin to measure where there is reason to, and go on with what was begun. ``pid``: above all processes."""
        if not self._path:
            return
        if not self.tree.is_measuring:
            try:
                space = os.statvfs(self._path)
            except OSError:
                return
            now_s = time.monotonic()
            free = (space.f_bfree * space.f_frsize, space.f_ffree)
            lost_bytes, lost_entries = (before - after for before, after in zip(self._free, free, strict=True))
            has_no_room = lost_bytes >= self._limit_bytes - self.tree.size_bytes
            if has_no_room or lost_entries >= COMMAND_FILES - self.tree.entries or now_s >= self._next_s:
                self.tree.begin(itertools.islice(_tree(pid), SEEN_PROCESSES))
                self._free = free
                self._next_s = now_s + DISK_WATCH_S
        self.tree.advance(DISK_LOOK_S)


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
    pending = [pid]
    while pending:
        pid = pending.pop()
        yield pid
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                    pending += map(int, file.read().split())


def _ticks(pid: int) -> int:
    """utime, stime, cutime and cstime: fields 14 to 17 of /proc/PID/stat (proc(5)), 12 to 15 after the name."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/stat", "rb") as file:
        return sum(map(int, file.read().rpartition(b")")[2].split()[11:15]))
    return 0


def _memory_bytes(processes: Sequence[int], limit_bytes: int) -> int:
    """What processes have in memory that is in no file: private pages, and pages that they share with each other.

    Shared ones count for each that has them, until that would exceed a limit: then each is charged its part of them.
    """
    private_bytes = 0
    shared_bytes: dict[int, int] = {}
    for pid in processes:
        status = _sizes(f"/proc/{pid}/status", b"RssAnon", b"RssShmem")
        private_bytes += status.get(b"RssAnon", 0)
        if shared := status.get(b"RssShmem", 0):
            shared_bytes[pid] = shared
    if limit_bytes and private_bytes <= limit_bytes < private_bytes + sum(shared_bytes.values()):
        # Exact, and it takes a walk through each page table. A process can forbid it, and then pays in full.
        for pid, shared in shared_bytes.items():
            shared_bytes[pid] = _sizes(f"/proc/{pid}/smaps_rollup", b"Pss_Shmem").get(b"Pss_Shmem", shared)
    return private_bytes + sum(shared_bytes.values())


def _sizes(path: str, *names: bytes) -> dict[bytes, int]:
    """Those of the named fields of a file of proc(5) that it has, in bytes; it tells them in KiB."""
    found: dict[bytes, int] = {}
    with contextlib.suppress(OSError, ValueError), open(path, "rb") as file:
        for line in file:
            name, _, value = line.partition(b":")
            if name in names:
                found[name] = int(value.split()[0]) * KIB
    return found

"""How busy this machine is, for heartbeats: shares from 0.0 to 1.0, read from /proc."""

from __future__ import annotations

import os
from typing import NamedTuple


class Usage(NamedTuple):
    """Shares of the machine in use, 0.0 to 1.0."""

    cpu: float
    memory: float
    disk: float


class MachineLoad:
    """Samples the machine. The CPU share is that of the time since the last sample.

    Args:
        directory: where the disk share is measured.
        proc: the proc file system (proc(5)).
    """

    def __init__(self, directory: str, proc: str = "/proc") -> None:
        self._directory = directory
        self._proc = proc
        self._busy, self._total = self._cpu_ticks()

    def sample(self) -> Usage:
        busy, total = self._cpu_ticks()
        elapsed = total - self._total
        cpu = (busy - self._busy) / elapsed if elapsed > 0 else 0.0
        self._busy, self._total = busy, total
        space = os.statvfs(self._directory)
        disk = 1.0 - space.f_bavail / space.f_blocks if space.f_blocks else 0.0
        return Usage(_share(cpu), _share(self._memory()), _share(disk))

    def _cpu_ticks(self) -> tuple[int, int]:
        """(ticks not idle, all ticks): the first line of /proc/stat; columns 4 and 5 are idle and iowait."""
        with open(f"{self._proc}/stat", encoding="ascii") as file:
            ticks = [int(field) for field in file.readline().split()[1:9]]
        total = sum(ticks)
        return total - ticks[3] - ticks[4], total

    def _memory(self) -> float:
        with open(f"{self._proc}/meminfo", encoding="ascii") as file:
            fields = {line.split(":")[0]: int(line.split()[1]) for line in file if line.strip()}
        total = fields["MemTotal"]
        return (total - fields.get("MemAvailable", total)) / total


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))

"""Which limit a command has exceeded, in the words that its user reads. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from zbuild.limits import BRANCHING_DEPTH, COMMAND_FILES, MIB
from zbuild.sandbox.spawn_protocol import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumption:
    """What a command has used so far. A number that nobody has measured is 0.

    Attributes:
        memory_bytes: the most that its processes have had together.
        disk_bytes: below the directory that it may write.
        kills: processes that the kernel killed because the command's memory was used up.
        refusals: forks that the kernel refused.
        files: files and directories below it.
        is_too_deep: its directories are nested too deeply to be measured.
        full: a private file system of the command with no room left.
    """

    memory_bytes: int = 0
    processes: int = 0
    disk_bytes: int = 0
    files: int = 0
    is_too_deep: bool = False
    kills: int = 0
    refusals: int = 0
    full: str = ""


def exceeded(limits: Limits, used: Consumption) -> str:
    """The limit with its figure, or "" while none is exceeded."""
    if limits.memory_bytes and (used.kills or used.memory_bytes > limits.memory_bytes):
        return f"memory limit {_mib(limits.memory_bytes)} exceeded, peak {_mib(used.memory_bytes)}"
    if limits.processes and (used.refusals or used.processes > limits.processes):
        return f"process limit {limits.processes} exceeded"
    if limits.disk_bytes and used.disk_bytes >= limits.disk_bytes:
        return f"disk limit {_mib(limits.disk_bytes)} exceeded, {_mib(used.disk_bytes)} written"
    if limits.disk_bytes and used.files > COMMAND_FILES:
        return f"file limit {COMMAND_FILES} exceeded"
    if limits.disk_bytes and used.is_too_deep:
        return f"depth limit {BRANCHING_DEPTH} exceeded: directories with several in them, one inside the other"
    if limits.private_bytes and used.full:
        return f"disk limit {_mib(limits.private_bytes)} exceeded in {used.full}"
    return ""


def output_exceeded(limit_bytes: int, stream: str) -> str:
    """The verdict on a command that writes more than ``limit_bytes`` to stdout or stderr."""
    return f"output limit {_mib(limit_bytes)} exceeded on {stream}"


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.0f} MiB" if size_bytes >= MIB else f"{size_bytes} B"

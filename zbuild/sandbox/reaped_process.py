"""A process that has ended, with what the kernel counted for it and for the processes that it waited for."""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import dataclass

_IO_BYTES = 4096
"""More than the seven numbers of /proc/PID/io take."""


@dataclass(frozen=True, slots=True)
class ReapedProcess:
    """One child of this process.

    Attributes:
        read_bytes, written_bytes: rchar and wchar of /proc/PID/io (proc(5)); 0 where the kernel does not tell.
    """

    pid: int
    wait_status: int
    usage: resource.struct_rusage
    read_bytes: int
    written_bytes: int


def reap() -> ReapedProcess | None:
    """A child that has ended, or None.

    Raises:
        ChildProcessError: there is no child.
    """
    # Its counters can be read until it is waited for.
    ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return None
    read_bytes, written_bytes = _transferred_bytes(ended.si_pid)
    pid, wait_status, usage = os.wait4(ended.si_pid, 0)
    return ReapedProcess(pid, wait_status, usage, read_bytes, written_bytes)


def _transferred_bytes(pid: int) -> tuple[int, int]:
    with contextlib.suppress(OSError, KeyError, ValueError):
        # A file object would take three times as long, and this is done twice for each action.
        descriptor = os.open(f"/proc/{pid}/io", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fields = dict(line.split(b": ") for line in os.read(descriptor, _IO_BYTES).splitlines())
        finally:
            os.close(descriptor)
        return int(fields[b"rchar"]), int(fields[b"wchar"])
    return 0, 0

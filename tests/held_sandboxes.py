"""Sandboxes that are set up and wait: what can be seen of them from outside."""

from __future__ import annotations

import time
from pathlib import Path

from tests.live_processes import processes_below
from tests.polling import POLL_S


def wait_until_set_up(spawner_pid: int, mount_point: str, timeout_s: float = 30.0) -> None:
    """Wait until a sandbox below a spawner has all its mounts, the one at ``mount_point`` among them.

    Raises:
        TimeoutError: that has not happened.
    """
    deadline_s = time.monotonic() + timeout_s
    while not any(_is_set_up(pid, mount_point) for pid in processes_below(spawner_pid)):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"no sandbox below process {spawner_pid} has been set up")
        time.sleep(POLL_S)


def _is_set_up(pid: int, mount_point: str) -> bool:
    try:
        mounts = {line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()}
    except (FileNotFoundError, ProcessLookupError):
        return False
    # bubblewrap detaches the old root after all mounts were made.
    return {"/", mount_point} <= mounts and not any("oldroot" in mount for mount in mounts)

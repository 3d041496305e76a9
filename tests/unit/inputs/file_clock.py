"""The clock of file times, which advances by the kernel's ticks."""

from __future__ import annotations

import time
from pathlib import Path

TICK_DEADLINE_S = 5.0


def wait_for_tick(directory: Path) -> None:
    """Returns once a change of a file gets later times than any change before this call."""
    probe = directory / "file-clock-probe"
    probe.write_text("")
    before_ns = probe.stat().st_ctime_ns
    deadline_s = time.monotonic() + TICK_DEADLINE_S
    while probe.stat().st_ctime_ns == before_ns:
        assert time.monotonic() < deadline_s, "file times do not advance"
        probe.write_text("")
    probe.unlink()

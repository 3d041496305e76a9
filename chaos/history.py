"""What happened in a run, as JSON lines: faults by the harness, decisions by the daemons.

What daemons write is in zbuild/testing/recorder.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zbuild.testing.recorder import Recorder

Event = dict[str, Any]

POLL_S = 0.02


TOO_SLOW = "too slow: "
"""Begins a violation that a machine without time to spare can cause; the gate repeats such a run alone."""


class TimeIsUp(Exception):
    """What was waited for has not come."""


class History:
    """The file of one run. ``events`` holds what has been read of it so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[Event] = []
        self._recorder = Recorder(str(path), "harness")
        self._file = open(path, encoding="utf-8")  # noqa: SIM115  # closed with the run
        self._partial = ""

    def write(self, event: str, **fields: object) -> float:
        """Add an event of the harness; the instant."""
        self._recorder.write(event, fields)
        return time.monotonic()

    def read(self) -> list[Event]:
        """Everything until now."""
        *lines, self._partial = (self._partial + self._file.read()).split("\n")
        self.events += [json.loads(line) for line in lines]
        return self.events

    def count(self, event: str, since_s: float = 0.0) -> int:
        """How many events of that kind there have been since an instant."""
        return sum(1 for each in self.read() if each["event"] == event and each["t"] >= since_s)

    def first(self, event: str, since_s: float) -> float | None:
        """The instant of the first event of that kind since another instant."""
        return next((each["t"] for each in self.read() if each["event"] == event and each["t"] >= since_s), None)

    def wait_for(self, event: str, count: int, timeout_s: float = 120.0, since_s: float = 0.0) -> None:
        """Wait until there have been that many.

        Raises:
            TimeIsUp
        """
        wait_until(lambda: self.count(event, since_s) >= count, f"{count} events {event!r}", timeout_s)

    def close(self) -> None:
        self._file.close()


def wait_until(is_true: Callable[[], bool], what: str, timeout_s: float = 120.0) -> None:
    """Poll.

    Raises:
        TimeIsUp
    """
    deadline_s = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline_s:
            raise TimeIsUp(f"waited {timeout_s:g} s for {what}")
        time.sleep(POLL_S)

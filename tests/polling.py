"""Waiting in tests: for what should come, never for time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable

POLL_S = 0.005


def wait_until(is_true: Callable[[], bool], what: str = "it to come true", timeout_s: float = 20.0) -> None:
    """Poll until ``is_true``, or fail."""
    deadline_s = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline_s, f"waited {timeout_s:g} s for {what}"
        time.sleep(POLL_S)

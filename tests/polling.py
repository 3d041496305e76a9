"""Waiting in tests: for what should come, never for time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable

POLL_S = 0.005


def wait_until(
    is_true: Callable[[], bool], what: str | Callable[[], str] = "it to come true", timeout_s: float = 20.0
) -> None:
    """Poll until ``is_true``, or fail, saying ``what`` was waited for; a function tells what was seen at the end."""
    deadline_s = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() >= deadline_s:
            raise AssertionError(f"waited {timeout_s:g} s for {what if isinstance(what, str) else what()}")
        time.sleep(POLL_S)

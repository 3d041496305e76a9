"""SIGTERM, SIGINT and SIGHUP as a descriptor that a poller can wait for."""

from __future__ import annotations

import os
import signal


class StopSignals:
    """While it exists, SIGTERM, SIGINT and SIGHUP make ``descriptor`` readable and do nothing else.

    A SIGHUP that was ignored, as under nohup, stays so.
    """

    def __init__(self) -> None:
        self.descriptor, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._previous_wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        self._previous = {number: signal.signal(number, _note) for number in numbers}

    def close(self) -> None:
        signal.set_wakeup_fd(self._previous_wakeup)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self.descriptor)
        os.close(self._write_end)


def _note(_number: int, _frame: object) -> None:
    """The wake-up descriptor carries the signal; the handler only has to exist."""

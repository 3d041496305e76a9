"""SIGTERM, SIGINT and SIGHUP wake the poller; a SIGHUP that nohup has switched off does not."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator

import pytest

from zbuild.cli.stop_signals import StopSignals


@pytest.fixture(autouse=True)
def _default_hangup() -> Iterator[None]:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def is_woken(signals: StopSignals) -> bool:
    return bool(select.select([signals.descriptor], [], [], 0)[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_makes_the_descriptor_readable(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    signals = StopSignals()
    try:
        assert not is_woken(signals)
        os.kill(os.getpid(), number)
        assert is_woken(signals)
    finally:
        signals.close()
    assert signal.getsignal(number) is before


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals = StopSignals()
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not is_woken(signals)
    finally:
        signals.close()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

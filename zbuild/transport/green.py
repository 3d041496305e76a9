"""ZeroMQ sockets under gevent, without zmq.green.

zmq.green's poller can spin and its sockets can sleep for 11.6 s on an edge that somebody else
consumed (pyzmq PR #2167, ``_gevent_bug_timeout``). Here the sockets are native, one greenlet owns
them all, and gevent only watches their descriptors. ZeroMQ's descriptor is edge-triggered, so the
owner drains a socket until it would block each time it wakes, also after it has sent.
"""

from __future__ import annotations

from collections.abc import Callable

import gevent
import gevent.event

from zbuild.limits import GREEN_SAFETY_TICK_S

_READABLE = 1


class Wakeup:
    """Wakes the one greenlet that owns the sockets: for a descriptor, for another greenlet, or for time."""

    def __init__(self) -> None:
        self._event = gevent.event.Event()
        self._watchers: dict[int, gevent._interfaces.IWatcher] = {}

    def watch(self, descriptor: int, callback: Callable[[], None] | None = None) -> None:
        """Wake the owner when ``descriptor`` is readable; ``callback`` is called instead if there is one."""
        watcher = gevent.get_hub().loop.io(descriptor, _READABLE)
        watcher.start(callback or self._event.set)
        self._watchers[descriptor] = watcher

    def ignore(self, descriptor: int) -> None:
        watcher = self._watchers.pop(descriptor)
        watcher.stop()
        watcher.close()

    def set(self) -> None:
        """Another greenlet has something for the owner."""
        self._event.set()

    def wait(self, timeout_s: float) -> None:
        """Sleep until something happens, or ``timeout_s`` have passed, or the safety tick has come."""
        self._event.wait(min(max(timeout_s, 0.0), GREEN_SAFETY_TICK_S))
        self._event.clear()

    def close(self) -> None:
        for descriptor in list(self._watchers):
            self.ignore(descriptor)

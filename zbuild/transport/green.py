"""ZeroMQ sockets under gevent, without zmq.green.

zmq.green's poller can spin and its sockets can sleep for 11.6 s on an edge that somebody else
consumed (pyzmq PR #2167, ``_gevent_bug_timeout``). Here the sockets are native, one greenlet owns
them all, and gevent only watches their descriptors. ZeroMQ's descriptor is edge-triggered, so the
owner drains a socket until it would block each time it wakes, also after it has sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import gevent
import gevent.event

from zbuild.errors import ExitCode
from zbuild.limits import GREEN_SAFETY_TICK_S

_READABLE = 1


def fail_fast() -> None:
    """From now on this process ends when a greenlet or a callback dies of an error that nobody handles.

    gevent prints such an error and goes on, and whoever waits for the greenlet waits for ever: seen with MemoryError
    in a worker, whose leases then stayed held. A process that is gone is noticed within milliseconds, and its work
    is done elsewhere. An error in a thread of a pool is not meant: it is raised where its result is waited for.
    """
    hub = gevent.get_hub()

    def handle_error(context: object, kind: type, value: object, traceback: object) -> None:
        is_of_a_thread = isinstance(context, tuple)  # (the thread's greenlet, what it was to call)
        if issubclass(kind, hub.NOT_ERROR) or is_of_a_thread:
            return
        try:
            hub.print_exception(context, kind, value, traceback)
        finally:
            os._exit(int(ExitCode.INTERNAL))

    hub.handle_error = handle_error


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

"""What this machine is and has, as platform properties, checked again before it is relied on."""

from __future__ import annotations

import time
from collections.abc import Mapping

import gevent
import gevent.lock
import gevent.threadpool

from zbuild.inputs.toolchain import Toolchain
from zbuild.limits import PROPERTY_QUERY_NAMES, TOOLCHAIN_RECHECK_S, TOOLCHAIN_STALE_S
from zbuild.protocol.messages import PROPERTY_ERROR
from zbuild.transport.green import Wakeup

_ERROR_CHARS = 200


class Platform:
    """Property values, found on demand. Finding one can take a second, so it happens in a thread.

    Args:
        fixed: name -> value of what is the worker's own and no tool's.

    Attributes:
        values: name -> value of every property that was asked for so far; "" for none.
        news: values found or changed that the broker has not been told.
    """

    def __init__(self, toolchain: Toolchain, wakeup: Wakeup, fixed: Mapping[str, str]) -> None:
        self.values: dict[str, str] = {}
        self.news: dict[str, str] = {}
        self._toolchain = toolchain
        self._fixed = fixed
        self._wakeup = wakeup
        self._thread = gevent.threadpool.ThreadPool(1)
        self._is_checking = gevent.lock.BoundedSemaphore(1)
        self._checked_s = time.monotonic()

    def evaluate(self, names: tuple[str, ...]) -> None:
        """Find the values of ``names`` as they are now."""
        with self._is_checking:
            is_known = any(name in self.values for name in names)
            work = self._reevaluate if is_known else self._evaluate
            found: dict[str, str] = self._thread.apply(work, (names,))
        self._learn(found)

    def recall(self) -> None:
        """Begin to compare the tools that are known from an earlier life, so that no action has to wait for that."""
        names = self._toolchain.known_properties()[:PROPERTY_QUERY_NAMES]
        if names:
            gevent.spawn(self.evaluate, names)

    def recheck(self) -> None:
        """Look for tools that were changed in place.

        Within TOOLCHAIN_RECHECK_S of the last look nothing is done; within TOOLCHAIN_STALE_S it is done
        while the action runs; later the action waits for it.
        """
        age_s = time.monotonic() - self._checked_s
        if age_s >= TOOLCHAIN_STALE_S:
            self._recheck()
        elif age_s >= TOOLCHAIN_RECHECK_S and not self._is_checking.locked():
            gevent.spawn(self._recheck)

    def _recheck(self) -> None:
        with self._is_checking:
            if time.monotonic() - self._checked_s < TOOLCHAIN_RECHECK_S:
                return
            found: dict[str, str] = self._thread.apply(self._reevaluate, (tuple(self.values),))
            self._checked_s = time.monotonic()
        self._learn({name: value for name, value in found.items() if self.values.get(name) != value})

    def _learn(self, found: dict[str, str]) -> None:
        if found:
            self.values.update(found)
            self.news.update(found)
            self._wakeup.set()

    def close(self) -> None:
        self._thread.kill()
        self._toolchain.save()

    def _evaluate(self, names: tuple[str, ...]) -> dict[str, str]:
        return {name: self._value(name) for name in names}

    def _value(self, name: str) -> str:
        """An exception would leave the broker without an answer: it would ask again for ever."""
        try:
            return self._fixed.get(name) or self._toolchain.evaluate_property(name) or ""
        except Exception as problem:
            return f"{PROPERTY_ERROR}{problem!r}"[:_ERROR_CHARS]

    def _reevaluate(self, names: tuple[str, ...]) -> dict[str, str]:
        self._toolchain.revalidate()
        return self._evaluate(names)

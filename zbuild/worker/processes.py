"""The worker's view of its spawner: make a process ready, run it, wait for its end, kill it."""

from __future__ import annotations

import itertools

import gevent.event

from zbuild.errors import SandboxFailed
from zbuild.sandbox.spawn_protocol import Exited, Kill, Release, Spawn
from zbuild.sandbox.spawner import Spawner


class Processes:
    """Joins greenlets that wait for a process with what the spawner tells."""

    def __init__(self, spawner: Spawner) -> None:
        self._spawner = spawner
        self._outcomes: dict[int, gevent.event.AsyncResult[Exited]] = {}
        self._running: set[int] = set()
        self._ids = itertools.count(1)

    def next_id(self) -> int:
        return next(self._ids)

    def fileno(self) -> int:
        return self._spawner.fileno()

    def hold(self, spawn: Spawn) -> None:
        """Have the sandbox of a process made, in the background. ``run`` or ``discard`` must follow.

        Raises:
            SandboxFailed: the spawner has died.
        """
        self._spawner.send(spawn)
        self._outcomes[spawn.id] = gevent.event.AsyncResult()
        self._running.add(spawn.id)

    def run(self, spawn_id: int) -> Exited:
        """Run a held process and wait for its end.

        Raises:
            SandboxFailed: the spawner has died.
        """
        if spawn_id in self._running:
            self._spawner.send(Release(id=spawn_id))
        return self._ended(spawn_id)

    def discard(self, spawn_id: int) -> None:
        """End a held process before it has run, and wait until nothing is left of its sandbox.

        Raises:
            SandboxFailed: the spawner has died.
        """
        self.kill(spawn_id)
        self._ended(spawn_id)

    def kill(self, spawn_id: int) -> None:
        """End a process and everything it started; its ``run`` returns."""
        if spawn_id in self._running:
            self._spawner.send(Kill(id=spawn_id))

    def settle(self) -> None:
        """Wake the greenlets whose processes have ended.

        Raises:
            SandboxFailed: the spawner has died; all who wait are told so, too.
        """
        try:
            for exited in self._spawner.receive():
                if exited.id in self._running:
                    self._running.remove(exited.id)
                    self._outcomes[exited.id].set(exited)
        except SandboxFailed as error:
            for spawn_id in self._running:
                self._outcomes[spawn_id].set_exception(error)
            self._running.clear()
            raise

    def _ended(self, spawn_id: int) -> Exited:
        try:
            exited: Exited = self._outcomes[spawn_id].get()
        finally:
            del self._outcomes[spawn_id]
        return exited

    def close(self) -> None:
        self._spawner.close()

"""The worker's view of its spawner: start a process, wait for its end, kill it."""

from __future__ import annotations

import itertools

import gevent.event

from zbuild.errors import SandboxFailed
from zbuild.sandbox.spawn_protocol import Exited, Kill, Spawn
from zbuild.sandbox.spawner import Spawner


class Processes:
    """Joins greenlets that wait for a process with what the spawner tells."""

    def __init__(self, spawner: Spawner) -> None:
        self._spawner = spawner
        self._waiting: dict[int, gevent.event.AsyncResult[Exited]] = {}
        self._ids = itertools.count(1)

    def next_id(self) -> int:
        return next(self._ids)

    def fileno(self) -> int:
        return self._spawner.fileno()

    def run(self, spawn: Spawn) -> Exited:
        """Start a process and wait for its end.

        Raises:
            SandboxFailed: the spawner has died.
        """
        outcome = self._waiting[spawn.id] = gevent.event.AsyncResult()
        self._spawner.send(spawn)
        exited: Exited = outcome.get()
        return exited

    def kill(self, spawn_id: int) -> None:
        """End a process and everything it started; its ``run`` returns."""
        if spawn_id in self._waiting:
            self._spawner.send(Kill(id=spawn_id))

    def settle(self) -> None:
        """Wake the greenlets whose processes have ended.

        Raises:
            SandboxFailed: the spawner has died; all who wait are told so, too.
        """
        try:
            for exited in self._spawner.receive():
                waiting = self._waiting.pop(exited.id, None)
                if waiting is not None:
                    waiting.set(exited)
        except SandboxFailed as error:
            for waiting in self._waiting.values():
                waiting.set_exception(error)
            self._waiting.clear()
            raise

    def close(self) -> None:
        self._spawner.close()

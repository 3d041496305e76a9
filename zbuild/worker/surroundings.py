"""What the sandbox executor needs of the worker around it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from zbuild.digest import Digest
from zbuild.sandbox.spawn_protocol import Exited, Spawn
from zbuild.worker.platform import Platform
from zbuild.worker.processes import Processes


class BlobAccess(Protocol):
    """A way to the store for executors. Each call waits."""

    def fetch(self, digests: Iterable[Digest]) -> None:
        """Have blobs in the worker's directory; raises BlobMissing, BlobCorrupt or StoreFailed."""

    def upload(self, digests: Iterable[Digest]) -> None:
        """Have blobs of the worker's directory in the store; raises StoreFailed."""


class WorkerSurroundings:
    """The Surroundings of executor.py, put together from the worker's parts. Each call may wait."""

    def __init__(self, blobs: BlobAccess, processes: Processes, platform: Platform) -> None:
        self._blobs = blobs
        self._processes = processes
        self._platform = platform

    def fetch(self, digests: Iterable[Digest]) -> None:
        self._blobs.fetch(digests)

    def upload(self, digests: Iterable[Digest]) -> None:
        self._blobs.upload(digests)

    def hold(self, spawn: Spawn) -> None:
        self._processes.hold(spawn)

    def run(self, spawn_id: int) -> Exited:
        return self._processes.run(spawn_id)

    def discard(self, spawn_id: int) -> None:
        self._processes.discard(spawn_id)

    def property_value(self, name: str) -> str:
        self._platform.recheck()
        if name not in self._platform.values:
            self._platform.evaluate((name,))
        return self._platform.values[name]

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


class PeerAccess(Protocol):
    """A way to the blobs of other workers."""

    def fetch(self, endpoint: str, digests: Iterable[Digest]) -> list[Digest]:
        """Have blobs in the worker's directory; those that could not be had. Waits, and raises nothing."""


class WorkerSurroundings:
    """The Surroundings of execution.py, put together from the worker's parts. Each call may wait.

    Args:
        peers: None when every blob of the farm is at hand in ``blobs``.
    """

    def __init__(
        self, blobs: BlobAccess, processes: Processes, platform: Platform, peers: PeerAccess | None = None
    ) -> None:
        self._blobs = blobs
        self._peers = peers
        self._processes = processes
        self._platform = platform

    def fetch(self, digests: Iterable[Digest], peer: str = "") -> None:
        """From the worker whose blobs are served at ``peer`` what it has, and the rest from the farm's store."""
        if peer and self._peers is not None:
            digests = self._peers.fetch(peer, digests)
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

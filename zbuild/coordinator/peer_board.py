"""What the broker publishes so that workers find each other: who is there, and who has work to be stolen.

All of it comes from the broker's own books. Its cost grows with the workers, once an interval, and never with the
actions.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from zbuild.coordinator.registry import WorkerSession
from zbuild.limits import (
    ANNOUNCE_AGAIN_S,
    ANNOUNCE_INTERVAL_S,
    ANNOUNCE_REST_S,
    ANNOUNCE_SOON_S,
    ANNOUNCEMENT_BYTES,
    ENDPOINT_BYTES,
    METRICS_INTERVAL_S,
    METRICS_PEERS,
    METRICS_SOON_S,
)
from zbuild.protocol.steal_messages import Announcement, PeerAnnounce, PeerEntry, PeerLoad, PeerMetrics

_MESSAGE_BYTES = 32
"""The most that an announcement takes without its entries."""

_ENTRY_BYTES = 32
"""The most that an entry takes beside its endpoint: two whole numbers and a float of 9 B, and their array."""


class PeerBoard:
    """Decides when to publish what."""

    def __init__(self, epoch: int, now_s: float) -> None:
        self._epoch = epoch
        self._announce_s = now_s + ANNOUNCE_INTERVAL_S
        self._again_s = now_s
        self._rests_until_s = now_s
        self._metrics_s = now_s
        self._look_s = now_s
        self._has_loads = False

    def worker_came(self, now_s: float) -> None:
        """Somebody is there whom the others do not know, and who does not listen yet: it is all said twice."""
        self._again_s = now_s + ANNOUNCE_AGAIN_S
        self._announce_s = min(self._announce_s, max(now_s + ANNOUNCE_SOON_S, self._rests_until_s))

    def is_due(self, now_s: float) -> bool:
        """Whether ``due`` has something to do."""
        return now_s >= self._look_s or now_s >= self._announce_s

    def due(self, workers: Iterable[WorkerSession], now_s: float) -> list[Announcement]:
        """What is to be published now."""
        found: list[Announcement] = []
        stealable = [worker for worker in workers if worker.steal_endpoint]
        if now_s >= self._announce_s:
            self._announce_s = now_s + ANNOUNCE_INTERVAL_S
            self._rests_until_s = now_s + len(stealable) * ANNOUNCE_REST_S
            if now_s < self._again_s:
                self._announce_s = max(self._again_s, self._rests_until_s)
            found += self._announcements(stealable)
        if now_s >= self._look_s:
            self._look_s = now_s + METRICS_SOON_S
            if now_s >= self._metrics_s or any(worker.load < 1.0 for worker in stealable):
                self._metrics_s = now_s + METRICS_INTERVAL_S
                found += self._metrics(stealable)
        return found

    def _announcements(self, workers: list[WorkerSession]) -> Iterator[PeerAnnounce]:
        entries: list[PeerEntry] = []
        size_bytes = _MESSAGE_BYTES
        for worker in workers:
            entry_bytes = _ENTRY_BYTES + len(worker.steal_endpoint.encode())
            if entries and size_bytes + entry_bytes > ANNOUNCEMENT_BYTES:
                yield PeerAnnounce(epoch=self._epoch, peers=tuple(entries))
                entries, size_bytes = [], _MESSAGE_BYTES
            entries.append(PeerEntry(worker.worker_id, worker.steal_endpoint, worker.queue_depth, worker.load_factor))
            size_bytes += entry_bytes
        if entries:
            yield PeerAnnounce(epoch=self._epoch, peers=tuple(entries))

    def _metrics(self, workers: list[WorkerSession]) -> list[PeerMetrics]:
        """The longest queues; once more, without any, when the last one is gone."""
        waiting = [worker for worker in workers if worker.queue_depth and worker.is_open]
        longest = heapq.nlargest(METRICS_PEERS, waiting, key=lambda worker: worker.queue_depth)
        had_loads, self._has_loads = self._has_loads, bool(longest)
        if not longest and not had_loads:
            return []
        loads = tuple(PeerLoad(worker.worker_id, worker.queue_depth, worker.load_factor) for worker in longest)
        return [PeerMetrics(epoch=self._epoch, loads=loads)]


def is_reachable(endpoint: str) -> bool:
    """Whether an endpoint that a worker gives for itself may be announced."""
    return len(endpoint.encode()) <= ENDPOINT_BYTES and endpoint.startswith(("tcp://", "ipc://"))

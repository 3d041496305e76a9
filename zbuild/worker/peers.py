"""The other workers of the farm, as far as this one has heard of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from zbuild.limits import (
    ENDPOINT_BYTES,
    MAX_PEERS,
    PEER_QUEUE_SHARE,
    PEER_QUIET_MAX_S,
    PEER_QUIET_MIN_S,
    PEER_STALE_S,
    ROUND_TRIP_SHARE,
)
from zbuild.protocol.steal_messages import PeerAnnounce, PeerMetrics, StealResponse
from zbuild.worker.steal_strategy import Load


class Peer:
    """One other worker.

    Attributes:
        load: as it was last told of.
        backlog_ends_s: when its queue will be empty, by its own estimate or by ours; infinite while there is none.
        seen_s: when it was last announced, or has answered.
        round_trip_s: the moving average of its answers; 0.0 before the first.
        timeouts: questions in a row that it has not answered in time.
        quiet_until_s: until then it is not asked.
    """

    def __init__(self, worker_id: int, endpoint: str, now_s: float) -> None:
        self.worker_id = worker_id
        self.endpoint = endpoint
        self.load = Load(0, 0.0)
        self.backlog_ends_s = math.inf
        self.seen_s = now_s
        self.round_trip_s = 0.0
        self.timeouts = 0
        self.quiet_until_s = -math.inf

    def is_worth_asking(self, now_s: float) -> bool:
        """Whether it answers as a rule, and is thought to have something to give."""
        return now_s >= self.quiet_until_s and self.load.queue_depth > 0 and now_s < self.backlog_ends_s

    def answered(self, round_trip_s: float, now_s: float) -> None:
        """It has answered a question."""
        is_first = self.round_trip_s == 0.0
        self.round_trip_s += (round_trip_s - self.round_trip_s) * (1.0 if is_first else ROUND_TRIP_SHARE)
        self.seen_s = now_s
        self.timeouts = 0
        self.quiet_until_s = -math.inf

    def timed_out(self, now_s: float) -> None:
        """It has not answered: leave it alone, for longer each time."""
        self.timeouts += 1
        self.quiet_until_s = now_s + min(PEER_QUIET_MAX_S, PEER_QUIET_MIN_S * 2 ** (self.timeouts - 1))


class PeerTable:
    """Everybody but ourselves, MAX_PEERS at the most. Those with a queue, the few that metrics name, are kept apart.

    Peers are judged stale by the announcements that left them out, not by the clock: without a broker nobody is
    announced, and everybody is still there.

    Attributes:
        usual_s: how long an action takes as a rule at this worker; 0.0 while none has run.
    """

    def __init__(self, own_id: int) -> None:
        self.usual_s = 0.0
        self._own_id = own_id
        self._announced_s = -math.inf
        self._peers: dict[int, Peer] = {}
        self._with_queue: dict[int, Peer] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def get(self, worker_id: int) -> Peer | None:
        return self._peers.get(worker_id)

    def announced(self, announcement: PeerAnnounce, now_s: float) -> list[int]:
        """Take in who is there; the ids of those that are stale now, and forgotten."""
        if now_s - self._announced_s > PEER_STALE_S:
            for unseen in self._peers.values():
                unseen.seen_s = now_s
        self._announced_s = now_s
        for entry in announcement.peers:
            if entry.worker_id == self._own_id or not entry.endpoint or len(entry.endpoint) > ENDPOINT_BYTES:
                continue
            peer = self._peers.get(entry.worker_id)
            if peer is None or peer.endpoint != entry.endpoint:
                if peer is None and len(self._peers) >= MAX_PEERS:
                    continue
                peer = self._peers[entry.worker_id] = Peer(entry.worker_id, entry.endpoint, now_s)
            peer.seen_s = now_s
            self._learn(peer, entry.queue_depth, entry.load_factor, now_s)
        stale = [peer.worker_id for peer in self._peers.values() if now_s - peer.seen_s > PEER_STALE_S]
        for worker_id in stale:
            del self._peers[worker_id]
            self._with_queue.pop(worker_id, None)
        return stale

    def measured(self, metrics: PeerMetrics, now_s: float) -> None:
        """Take in the longest queues. Whoever is not among them has none."""
        named = {load.worker_id: load for load in metrics.loads}
        for worker_id, peer in list(self._with_queue.items()):
            if worker_id not in named:
                peer.load = Load(0, peer.load.load_factor)
                del self._with_queue[worker_id]
        for worker_id, load in named.items():
            known = self._peers.get(worker_id)
            if known is not None:
                self._learn(known, load.queue_depth, load.load_factor, now_s)

    def responded(self, peer: Peer, response: StealResponse, now_s: float) -> None:
        """Take in what a victim says of itself."""
        self._learn(peer, response.queue_depth, response.load_factor, now_s)
        if 0.0 <= response.backlog_s < math.inf:
            peer.backlog_ends_s = now_s + response.backlog_s

    def candidates(self, now_s: float, *, is_blind: bool) -> list[Peer]:
        """Whom it makes sense to ask; with ``is_blind`` everybody who answers as a rule."""
        if is_blind:
            return [peer for peer in self._peers.values() if now_s >= peer.quiet_until_s]
        return [peer for peer in self._with_queue.values() if peer.is_worth_asking(now_s)]

    def _learn(self, peer: Peer, queue_depth: int, load_factor: float, now_s: float) -> None:
        """Take in a load, and guess how long the queue lasts from what actions take here: asking later is in vain."""
        factor = load_factor if 0.0 <= load_factor <= 1.0 else 1.0
        peer.load = Load(max(0, queue_depth), factor)
        usual_s = self.usual_s * PEER_QUEUE_SHARE
        peer.backlog_ends_s = now_s + queue_depth * usual_s if usual_s else math.inf
        if self._peers.get(peer.worker_id) is not peer:
            return  # it was forgotten while its answer was on the way
        if queue_depth > 0:
            self._with_queue[peer.worker_id] = peer
        else:
            self._with_queue.pop(peer.worker_id, None)

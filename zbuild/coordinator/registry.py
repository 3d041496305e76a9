"""Who is connected: workers with what they hold, clients with what they wait for."""

from __future__ import annotations

from typing import Protocol

from zbuild.coordinator.health import WorkerHealth
from zbuild.coordinator.silence import SilenceDetector
from zbuild.model.action import ActionId
from zbuild.protocol.messages import HeartBeat, Hello


class ProcessName(Protocol):
    """Whatever names one process of a worker."""

    @property
    def worker_id(self) -> int: ...

    @property
    def incarnation(self) -> int: ...


class WorkerSession:
    """One connected worker. It is known by its routing id, which is new with each start of the process.

    Attributes:
        platform: name -> value of each property that the worker has spoken of; "" means it has none.
        told_s: name -> instant at which the worker told its value last.
        asked: name -> instant at which the worker was asked for it.
        held: actions leased to it.
        counters: what it has counted, as of its last report.
        grant_sequence: the number of the last Lease message made for it.
        last_turn: counts grants to all workers; its own last one.
        away_since_s: since when its link is down; None while it is up.
    """

    def __init__(self, peer: bytes, hello: Hello, health: WorkerHealth, timeout_s: float, now_s: float) -> None:
        self.peer = peer
        self.worker_id = hello.worker_id
        self.incarnation = hello.incarnation
        self.name = hello.name
        self.slots = hello.slots
        self.queue_limit = hello.queue_limit
        self.sandbox = hello.sandbox
        self.ceiling = hello.ceiling
        self.limits = hello.limits
        self.steal_endpoint = hello.steal_endpoint
        self.health = health
        self.silence = SilenceDetector(timeout_s, now_s)
        self.platform = dict(hello.platform)
        self.told_s: dict[str, float] = {}
        self.asked: dict[str, float] = {}
        self.held: set[ActionId] = set()
        self.running = 0
        self.grant_sequence = 0
        self.last_turn = 0
        self.counters: dict[str, int] = {}
        self.is_draining = False
        self.last_seen_s = now_s
        self.away_since_s: float | None = None
        self.heartbeat: HeartBeat | None = None

    @property
    def load(self) -> float:
        """Leases per slot."""
        return len(self.held) / self.slots

    @property
    def queue_depth(self) -> int:
        """Leases that wait at it for a slot, by our own books."""
        return max(0, len(self.held) - self.slots)

    @property
    def load_factor(self) -> float:
        """0.0 to 1.0; as the worker tells it, and by the same weights of our own books before it has."""
        if self.heartbeat is not None:
            return self.heartbeat.load_factor
        room = max(1, self.queue_limit - self.slots)
        return 0.7 * min(1.0, self.queue_depth / room) + 0.3 * min(1.0, self.load)

    @property
    def is_open(self) -> bool:
        """Whether it takes leases at all at the moment."""
        return not self.is_draining and self.away_since_s is None

    def is_process(self, name: ProcessName) -> bool:
        return name.worker_id == self.worker_id and name.incarnation == self.incarnation


class ClientSession:
    """One connected client. ``builds``: build number -> actions it waits for."""

    def __init__(self, peer: bytes, hello: Hello, now_s: float) -> None:
        self.peer = peer
        self.name = hello.name
        self.last_seen_s = now_s
        self.away_since_s: float | None = None
        self.builds: dict[int, set[ActionId]] = {}


class Registry:
    """All sessions, by routing id."""

    def __init__(self) -> None:
        self.workers: dict[bytes, WorkerSession] = {}
        self.clients: dict[bytes, ClientSession] = {}
        self.slots = 0
        self._peers: dict[int, bytes] = {}

    def add_worker(self, worker: WorkerSession) -> None:
        self.workers[worker.peer] = worker
        self._peers[worker.worker_id] = worker.peer
        self.slots += worker.slots

    def remove_worker(self, peer: bytes) -> WorkerSession | None:
        worker = self.workers.pop(peer, None)
        if worker is not None:
            self.slots -= worker.slots
            del self._peers[worker.worker_id]
        return worker

    def session_of(self, worker_id: int) -> WorkerSession | None:
        """The session of this worker; it never has two."""
        peer = self._peers.get(worker_id)
        return None if peer is None else self.workers[peer]

    def count(self) -> int:
        return len(self.workers) + len(self.clients)

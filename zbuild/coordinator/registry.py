"""Who is connected: workers with what they hold, clients with what they wait for."""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol

from zbuild.coordinator.health import WorkerHealth
from zbuild.coordinator.silence import SilenceDetector
from zbuild.coordinator.worker_changes import WorkerChanges
from zbuild.limits import PREFETCH_S
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

    Whatever decides on what it may be given (leases, health, being open) counts up ``version``, and the Registry
    that it was added to lists it among its ``changes``.

    Attributes:
        prefetch_s: expected work that it may hold beyond its slots, in seconds for each slot.
        number: its place in the order of coming.
        version: counts the changes.
        platform: name -> value of each property that the worker has spoken of; "" means it has none.
        told_s: name -> instant at which the worker told its value last.
        asked: name -> instant at which the worker was asked for it.
        counters: what it has counted, as of its last report.
        grant_sequence: the number of the last Lease message made for it.
        last_turn: counts grants to all workers; its own last one.
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
        health.on_change = self.touch
        self.silence = SilenceDetector(timeout_s, now_s)
        self.platform = dict(hello.platform)
        self.told_s: dict[str, float] = {}
        self.asked: dict[str, float] = {}
        self.prefetch_s = PREFETCH_S
        self.number = 0
        self.version = 0
        self._changes: WorkerChanges[WorkerSession] | None = None
        self._held: set[ActionId] = set()
        self.running = 0
        self.grant_sequence = 0
        self.last_turn = 0
        self.counters: dict[str, int] = {}
        self.last_seen_s = now_s
        self.heartbeat: HeartBeat | None = None
        self._is_draining = False
        self._away_since_s: float | None = None

    @property
    def held(self) -> Set[ActionId]:
        """The actions leased to it."""
        return self._held

    def hold(self, action: ActionId) -> None:
        """The worker has a lease of ``action``."""
        self._held.add(action)
        self.touch()

    def release(self, action: ActionId) -> None:
        """The worker has no lease of ``action`` any more."""
        if action in self._held:
            self._held.remove(action)
            self.touch()

    @property
    def is_draining(self) -> bool:
        """Whether it takes no more leases."""
        return self._is_draining

    @is_draining.setter
    def is_draining(self, is_draining: bool) -> None:
        if is_draining is not self._is_draining:
            self._is_draining = is_draining
            self.touch()

    @property
    def away_since_s(self) -> float | None:
        """Since when its link is down; None while it is up."""
        return self._away_since_s

    @away_since_s.setter
    def away_since_s(self, since_s: float | None) -> None:
        if since_s is not self._away_since_s:
            self._away_since_s = since_s
            self.touch()

    def touch(self) -> None:
        """Something has changed that decides on what it may be given."""
        self.version += 1
        if self._changes is not None:
            self._changes.append(self)

    def listed_in(self, changes: WorkerChanges[WorkerSession], number: int) -> None:
        """Have further changes listed."""
        self.number = number
        self._changes = changes

    @property
    def load(self) -> float:
        """Leases per slot."""
        return len(self._held) / self.slots

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
        return not self._is_draining and self._away_since_s is None

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
    """All sessions, by routing id.

    Attributes:
        joined: counts the workers that have ever come.
        changes: the workers in the order in which something has changed that decides on what they may be given.
    """

    def __init__(self) -> None:
        self.workers: dict[bytes, WorkerSession] = {}
        self.clients: dict[bytes, ClientSession] = {}
        self.slots = 0
        self.changes: WorkerChanges[WorkerSession] = WorkerChanges()
        self._peers: dict[int, bytes] = {}
        self.joined = 0

    def add_worker(self, worker: WorkerSession) -> None:
        self.workers[worker.peer] = worker
        self._peers[worker.worker_id] = worker.peer
        self.slots += worker.slots
        self.joined += 1
        worker.listed_in(self.changes, self.joined)

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

"""Who is connected: workers with what they hold, clients with what they wait for."""

from __future__ import annotations

from zbuild.model.action import ActionId
from zbuild.protocol.messages import HeartBeat, Hello


class WorkerSession:
    """One connected worker. It is known by its routing id, which is new with each start of the process.

    Attributes:
        platform: name -> value of each property that the worker has spoken of; "" means it has none.
        told_s: name -> instant at which the worker told its value last.
        asked: name -> instant at which the worker was asked for it.
        held: actions leased to it.
        grant_sequence: the number of the last Lease message made for it.
    """

    def __init__(self, peer: bytes, hello: Hello, now_s: float) -> None:
        self.peer = peer
        self.worker_id = hello.worker_id
        self.incarnation = hello.incarnation
        self.name = hello.name
        self.slots = hello.slots
        self.queue_limit = hello.queue_limit
        self.sandbox = hello.sandbox
        self.ceiling = hello.ceiling
        self.limits = hello.limits
        self.platform = dict(hello.platform)
        self.told_s: dict[str, float] = {}
        self.asked: dict[str, float] = {}
        self.held: set[ActionId] = set()
        self.running = 0
        self.grant_sequence = 0
        self.is_draining = False
        self.last_seen_s = now_s
        self.heartbeat: HeartBeat | None = None

    @property
    def load(self) -> float:
        """Leases per slot."""
        return len(self.held) / self.slots


class ClientSession:
    """One connected client. ``builds``: build number -> actions it waits for."""

    def __init__(self, peer: bytes, hello: Hello, now_s: float) -> None:
        self.peer = peer
        self.name = hello.name
        self.last_seen_s = now_s
        self.builds: dict[int, set[ActionId]] = {}


class Registry:
    """All sessions, by routing id."""

    def __init__(self) -> None:
        self.workers: dict[bytes, WorkerSession] = {}
        self.clients: dict[bytes, ClientSession] = {}
        self.slots = 0

    def add_worker(self, worker: WorkerSession) -> None:
        self.workers[worker.peer] = worker
        self.slots += worker.slots

    def remove_worker(self, peer: bytes) -> WorkerSession | None:
        worker = self.workers.pop(peer, None)
        if worker is not None:
            self.slots -= worker.slots
        return worker

    def earlier_session_of(self, worker_id: int, peer: bytes) -> WorkerSession | None:
        """Another session of the same worker: a former life of it, or a link that it has given up."""
        for worker in self.workers.values():
            if worker.worker_id == worker_id and worker.peer != peer:
                return worker
        return None

    def count(self) -> int:
        return len(self.workers) + len(self.clients)

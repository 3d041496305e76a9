"""The broker's decisions: sessions, leases, results. It owns no socket, no clock and no disk."""

from __future__ import annotations

from itertools import islice

from zbuild.coordinator.action_record import ActionState
from zbuild.coordinator.farm_state import FarmState, ResultCache
from zbuild.coordinator.lifecycle import Lifecycle
from zbuild.coordinator.registry import ClientSession, WorkerSession
from zbuild.coordinator.snapshot import snapshot
from zbuild.errors import BadInput, ProtocolError, VersionMismatch
from zbuild.limits import CLIENT_TIMEOUT_S, PROPERTY_VALUE_BYTES, SESSIONS, UNKNOWN_ACTIONS, WORKER_PROPERTIES
from zbuild.protocol.effects import Note, Send
from zbuild.protocol.messages import (
    PROTOCOL_VERSION,
    UNKNOWN_PEER,
    Acknowledge,
    BuildState,
    Cancel,
    Complete,
    Goodbye,
    HeartBeat,
    Hello,
    Keepalive,
    LeaseId,
    Properties,
    Refused,
    Report,
    Role,
    StatusRequest,
    Submit,
    ToBroker,
    Welcome,
)

Effect = Send | Note


class BrokerCore:
    """One broker. Feed it with ``receive`` and ``tick``, then call ``dispatch`` once for what they made ready.

    Args:
        welcome: what every accepted peer is told; its epoch names this life of the broker.
        results: the action cache and the store behind it.
        worker_timeout_s: a worker that has not reported for so long is lost.
    """

    def __init__(
        self, welcome: Welcome, results: ResultCache, *, worker_timeout_s: float, max_workers: int, now_s: float
    ) -> None:
        self.farm = FarmState(welcome.epoch, results, now_s)
        self._lifecycle = Lifecycle(self.farm)
        self._welcome = welcome
        self._worker_timeout_s = worker_timeout_s
        self._max_workers = max_workers

    @property
    def unplaced(self) -> int:
        """Classes of queued actions of which it is not known that a worker will do."""
        return len(self._lifecycle.placement)

    def receive(self, peer: bytes, message: ToBroker, now_s: float) -> None:
        """Take in one decoded message from the peer with this routing id."""
        if isinstance(message, Hello):
            self._greet(peer, message, now_s)
            return
        if isinstance(message, StatusRequest):
            self.farm.outbox.send(peer, snapshot(self.farm, now_s))
            return
        worker = self.farm.registry.workers.get(peer)
        if worker is not None:
            worker.last_seen_s = now_s
            self._receive_from_worker(worker, message)
            return
        client = self.farm.registry.clients.get(peer)
        if client is not None:
            client.last_seen_s = now_s
            self._receive_from_client(client, message)
            return
        if not isinstance(message, Goodbye):
            self.farm.counters["unknown_peer"] += 1
            self.farm.outbox.send(peer, Refused(code=UNKNOWN_PEER, message="introduce yourself"))

    def receive_heartbeat(self, heartbeat: HeartBeat) -> None:
        """Keep the figures of a heartbeat. It renews nothing: PUB may live while the control link is cut."""
        for worker in self.farm.registry.workers.values():
            if worker.worker_id == heartbeat.worker_id and worker.incarnation == heartbeat.incarnation:
                if worker.heartbeat is None or worker.heartbeat.sequence < heartbeat.sequence:
                    worker.heartbeat = heartbeat
                return

    def undecodable(self, peer: bytes, error: ProtocolError) -> None:
        """Answer bytes that were no message."""
        self.farm.counters["bad_message"] += 1
        self.farm.outbox.send(peer, Refused(code=error.code, message=str(error)))
        self.farm.outbox.note("bad_message", peer=peer.hex(), error=str(error))

    def disconnected(self, peer: bytes, reason: str) -> None:
        """The transport knows that the peer is gone."""
        self._lose_worker(peer, reason)
        self._lose_client(peer, reason)

    def tick(self, now_s: float) -> None:
        """Judge who has been silent for too long, and repeat questions that were not answered."""
        for worker in list(self.farm.registry.workers.values()):
            if now_s - worker.last_seen_s > self._worker_timeout_s:
                self._lose_worker(worker.peer, f"silent for {self._worker_timeout_s:g} s")
        for client in list(self.farm.registry.clients.values()):
            if now_s - client.last_seen_s > CLIENT_TIMEOUT_S:
                self._lose_client(client.peer, f"silent for {CLIENT_TIMEOUT_S:g} s")

    def dispatch(self, now_s: float) -> list[Effect]:
        """Grant what can be granted, give up what can never run, and return everything to be done."""
        registry, scheduler = self.farm.registry, self.farm.scheduler
        while (assignment := scheduler.next_assignment(registry.workers, registry.slots)) is not None:
            self._lifecycle.grant(*assignment)
        self._lifecycle.placement.settle(now_s)
        return self.farm.outbox.drain()

    def _greet(self, peer: bytes, hello: Hello, now_s: float) -> None:
        refusal = self._reason_to_refuse(peer, hello)
        if refusal is not None:
            self.farm.counters["hello_refused"] += 1
            self.farm.outbox.send(peer, refusal)
            self.farm.outbox.note("hello_refused", name=hello.name, reason=refusal.message)
            return
        self.farm.outbox.send(peer, self._welcome)
        if hello.role is Role.CLIENT:
            if peer not in self.farm.registry.clients:
                self.farm.registry.clients[peer] = ClientSession(peer, hello, now_s)
            return
        earlier = self.farm.registry.earlier_session_of(hello.worker_id, peer)
        if earlier is not None:
            self._lose_worker(earlier.peer, "the worker came back under a new link")
        if peer in self.farm.registry.workers:
            return
        worker = WorkerSession(peer, hello, now_s)
        self.farm.registry.add_worker(worker)
        self.farm.counters["workers_joined"] += 1
        self.farm.outbox.note("worker_joined", name=worker.name, worker=worker.worker_id, slots=worker.slots)
        self._lifecycle.placement.worker_changed(worker)

    def _reason_to_refuse(self, peer: bytes, hello: Hello) -> Refused | None:
        if hello.protocol_version != PROTOCOL_VERSION:
            text = f"{hello.name} speaks protocol version {hello.protocol_version}, this broker {PROTOCOL_VERSION}"
            return Refused(code=VersionMismatch.code, message=text)
        if hello.role is Role.WORKER and (hello.slots < 1 or hello.queue_limit < 1 or hello.worker_id < 1):
            text = f"worker {hello.name}: slots, queue limit and worker id must be 1 or more"
            return Refused(code=BadInput.code, message=text)
        is_new = peer not in self.farm.registry.workers and peer not in self.farm.registry.clients
        if hello.role is Role.WORKER and self.farm.registry.earlier_session_of(hello.worker_id, peer) is not None:
            is_new = False
        if is_new and hello.role is Role.WORKER and len(self.farm.registry.workers) >= self._max_workers:
            return Refused(code=BadInput.code, message=f"the farm is full: {self._max_workers} workers")
        if is_new and self.farm.registry.count() >= SESSIONS:
            return Refused(code=BadInput.code, message=f"the broker is full: {SESSIONS} peers")
        return None

    def _receive_from_client(self, client: ClientSession, message: ToBroker) -> None:
        match message:
            case Submit():
                for submission in message.actions:
                    self._lifecycle.submit(client, message.build, message.priority, submission)
            case Keepalive():
                self._answer_keepalive(client, message)
            case Cancel(is_queued_only=True):
                self._lifecycle.cancel_queued(client, message.build)
            case Cancel():
                self._lifecycle.cancel(client, message.build)
            case Goodbye():
                self._lose_client(client.peer, "it left")
            case _:
                self._refuse(client.peer, f"a client cannot send {type(message).__name__}")

    def _receive_from_worker(self, worker: WorkerSession, message: ToBroker) -> None:
        match message:
            case Complete():
                for outcome in message.outcomes:
                    self._lifecycle.complete(worker, outcome)
                self._acknowledge(worker, tuple(outcome.lease for outcome in message.outcomes))
            case Report():
                self._lifecycle.compare(worker, message)
                self._acknowledge(worker, ())
            case Properties():
                for name, value in message.values:
                    has_room = name in worker.platform or len(worker.platform) < WORKER_PROPERTIES
                    if has_room and len(name) <= PROPERTY_VALUE_BYTES and len(value) <= PROPERTY_VALUE_BYTES:
                        worker.platform[name] = value
                        worker.told_s[name] = worker.last_seen_s
                        worker.asked.pop(name, None)
                self._lifecycle.placement.worker_changed(worker)
            case Goodbye():
                self._lose_worker(worker.peer, "it left")
            case _:
                self._refuse(worker.peer, f"a worker cannot send {type(message).__name__}")

    def _acknowledge(self, worker: WorkerSession, leases: tuple[LeaseId, ...]) -> None:
        self.farm.outbox.send(worker.peer, Acknowledge(leases=leases, sequence=worker.grant_sequence))

    def _refuse(self, peer: bytes, text: str) -> None:
        self.farm.counters["bad_message"] += 1
        self.farm.outbox.send(peer, Refused(code=ProtocolError.code, message=text))

    def _answer_keepalive(self, client: ClientSession, message: Keepalive) -> None:
        known = client.builds.get(message.build, set())
        mine = [self.farm.actions[action] for action in known]
        leased = sum(record.state is ActionState.LEASED for record in mine)
        state = BuildState(
            build=message.build,
            unknown=tuple(islice((action for action in message.awaited if action not in known), UNKNOWN_ACTIONS)),
            running=leased,
            queued=len(mine) - leased,
            workers=len(self.farm.registry.workers),
        )
        self.farm.outbox.send(client.peer, state)

    def _lose_worker(self, peer: bytes, reason: str) -> None:
        worker = self.farm.registry.remove_worker(peer)
        if worker is None:
            return
        self._lifecycle.placement.worker_left(worker)
        self.farm.counters["workers_left"] += 1
        self.farm.outbox.drop(peer)
        self.farm.outbox.note("worker_left", name=worker.name, worker=worker.worker_id, reason=reason)
        self._lifecycle.lose(worker, reason)

    def _lose_client(self, peer: bytes, reason: str) -> None:
        client = self.farm.registry.clients.get(peer)
        if client is None:
            return
        for build in list(client.builds):
            self._lifecycle.cancel(client, build)
        del self.farm.registry.clients[peer]
        self.farm.outbox.drop(peer)
        self.farm.outbox.note("client_left", name=client.name, reason=reason)

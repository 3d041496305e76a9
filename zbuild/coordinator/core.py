"""The broker's decisions: sessions, leases, results. It owns no socket, no clock and no disk."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from zbuild.coordinator.action_record import ActionRecord, ActionState
from zbuild.coordinator.farm_state import FarmState, ResultCache
from zbuild.coordinator.journal import JournalRecord, JournalState
from zbuild.coordinator.lifecycle import Lifecycle
from zbuild.coordinator.peer_board import PeerBoard, is_reachable
from zbuild.coordinator.reassign import ReassignStrategy
from zbuild.coordinator.registry import ClientSession, WorkerSession
from zbuild.coordinator.snapshot import snapshot
from zbuild.coordinator.stragglers import needs_copy
from zbuild.errors import BadInput, ProtocolError, VersionMismatch, WorkerIdTaken
from zbuild.limits import (
    BROKER_TICK_S,
    CLIENT_TIMEOUT_S,
    PREFETCH_S,
    PROPERTY_VALUE_BYTES,
    RECONNECT_GRACE_S,
    SESSIONS,
    STRAINED_SILENCE_S,
    SUSPENDED_S,
    UNKNOWN_ACTIONS,
    WORKER_COUNTERS,
    WORKER_PROPERTIES,
    WORKER_TAKEN_S,
)
from zbuild.protocol.effects import Note, Publish, Send
from zbuild.protocol.messages import (
    PROTOCOL_VERSION,
    UNKNOWN_PEER,
    Acknowledge,
    BuildState,
    Cancel,
    Claim,
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
    Submit,
    ToBroker,
    Welcome,
)
from zbuild.protocol.status_messages import StatusRequest

Effect = Send | Note | Publish


class BrokerCore:
    """One broker. Feed it with ``receive`` and ``tick``, then call ``dispatch`` once for what they made ready.

    Args:
        welcome: what every accepted peer is told; its epoch names this life of the broker.
        results: the action cache and the store behind it.
        former: where the journal says that the last life of the broker ended.
        worker_timeout_s: a worker that has not reported for so long is lost, however irregular it was before.
        strategy: which worker gets an action.
        prefetch_s: see WorkerSession.
    """

    def __init__(
        self,
        welcome: Welcome,
        results: ResultCache,
        former: JournalState,
        *,
        worker_timeout_s: float,
        max_workers: int,
        now_s: float,
        strategy: ReassignStrategy = ReassignStrategy.PRIORITY,
        prefetch_s: float = PREFETCH_S,
    ) -> None:
        self.farm = FarmState(welcome.epoch, results, former, strategy, now_s)
        self._lifecycle = Lifecycle(self.farm)
        self._board = PeerBoard(welcome.epoch, now_s)
        self._welcome = welcome
        self._worker_timeout_s = worker_timeout_s
        self._max_workers = max_workers
        self._prefetch_s = prefetch_s
        self._last_tick_s = now_s

    @property
    def unplaced(self) -> int:
        """Classes of queued actions of which it is not known that a worker will do."""
        return len(self._lifecycle.placement)

    def receive(self, peer: bytes, message: ToBroker, now_s: float) -> None:
        """Take in one decoded message from the peer with this routing id."""
        self.farm.now_s = now_s
        if isinstance(message, Hello):
            self._greet(peer, message, now_s)
            return
        if isinstance(message, StatusRequest):
            self.farm.outbox.send(peer, snapshot(self.farm, now_s))
            return
        worker = self.farm.registry.workers.get(peer)
        if worker is not None:
            worker.last_seen_s = now_s
            worker.away_since_s = None
            self._receive_from_worker(worker, message)
            return
        client = self.farm.registry.clients.get(peer)
        if client is not None:
            client.last_seen_s = now_s
            client.away_since_s = None
            self._receive_from_client(client, message)
            return
        if not isinstance(message, Goodbye):
            self.farm.counters["unknown_peer"] += 1
            self.connected(peer)

    def receive_heartbeat(self, heartbeat: HeartBeat) -> None:
        """Keep the figures of a heartbeat. It renews nothing: PUB may live while the control link is cut."""
        worker = self.farm.registry.session_of(heartbeat.worker_id)
        if worker is None or not worker.is_process(heartbeat):
            return
        if worker.heartbeat is None or worker.heartbeat.sequence < heartbeat.sequence:
            worker.heartbeat = heartbeat
            worker.health.loaded(heartbeat.cpu_usage, heartbeat.memory_usage)

    def undecodable(self, peer: bytes, error: ProtocolError) -> None:
        """Answer bytes that were no message."""
        self.farm.counters["bad_message"] += 1
        self.farm.outbox.send(peer, Refused(code=error.code, message=str(error)))
        self.farm.outbox.note("bad_message", peer=peer.hex(), error=str(error))

    def connected(self, peer: bytes) -> None:
        """A link is up that was not: whoever it is says so, and tells at once what it holds or awaits."""
        self.farm.outbox.send(peer, Refused(code=UNKNOWN_PEER, message="introduce yourself"))

    def disconnected(self, peer: bytes, now_s: float) -> None:
        """The transport knows that the link is down. The peer keeps what it has for RECONNECT_GRACE_S."""
        self.farm.now_s = now_s
        worker = self.farm.registry.workers.get(peer)
        session = worker or self.farm.registry.clients.get(peer)
        if session is not None and session.away_since_s is None:
            session.away_since_s = now_s
            if worker is not None:
                self._copy_stragglers([self.farm.actions[action] for action in sorted(worker.held)])

    def tick(self, now_s: float) -> None:
        """Judge who has been silent for too long, and repeat questions that were not answered."""
        self.farm.now_s = now_s
        self._forgive_suspension(now_s)
        self.farm.health.tick(now_s)
        for worker in list(self.farm.registry.workers.values()):
            silence_s = now_s - worker.last_seen_s
            if _is_gone(worker.away_since_s, now_s):
                self._lose_worker(worker.peer, "its connection closed")
            elif worker.silence.is_lost(silence_s):
                self._lose_worker(worker.peer, f"silent for {silence_s:.0f} s")
            elif silence_s > STRAINED_SILENCE_S:
                worker.health.strained(is_strained=True)
        for client in list(self.farm.registry.clients.values()):
            if _is_gone(client.away_since_s, now_s):
                self._lose_client(client.peer, "its connection closed")
            elif now_s - client.last_seen_s > CLIENT_TIMEOUT_S:
                self._lose_client(client.peer, f"silent for {CLIENT_TIMEOUT_S:g} s")
        self._lifecycle.bring_back()
        if any(worker.load < 1.0 for worker in self.farm.registry.workers.values()):
            self._copy_stragglers(self.farm.actions.values())

    def take_journal(self) -> list[JournalRecord]:
        """What has happened since the last call, to be written down before any effect is performed."""
        records, self.farm.journal = self.farm.journal, []
        return records

    def journal_state(self) -> JournalState:
        """What a replay of all that was taken must come to; what a compacted journal is made of."""
        return self.farm.journal_state()

    def dispatch(self, now_s: float) -> list[Effect]:
        """Grant what can be granted, give up what can never run, and return everything to be done."""
        self.farm.now_s = now_s
        while (assignment := self.farm.scheduler.next_assignment()) is not None:
            self._lifecycle.grant(*assignment)
        self._lifecycle.placement.settle(now_s)
        if self._board.is_due(now_s):
            for announcement in self._board.due(self.farm.registry.workers.values(), now_s):
                self.farm.outbox.publish(announcement)
        return self.farm.outbox.drain()

    def _greet(self, peer: bytes, hello: Hello, now_s: float) -> None:
        refusal = self._reason_to_refuse(peer, hello, now_s)
        if refusal is not None:
            self.farm.counters["hello_refused"] += 1
            self.farm.outbox.send(peer, refusal)
            self.farm.outbox.note("hello_refused", name=hello.name, reason=refusal.message)
            return
        self.farm.outbox.send(peer, self._welcome)
        if hello.role is Role.CLIENT:
            client = self.farm.registry.clients.setdefault(peer, ClientSession(peer, hello, now_s))
            client.last_seen_s, client.away_since_s = now_s, None
            return
        earlier = self.farm.registry.session_of(hello.worker_id)
        if earlier is not None and earlier.peer == peer:
            earlier.last_seen_s, earlier.away_since_s = now_s, None
            return
        if earlier is not None:
            self._lose_worker(earlier.peer, "its successor has come")
        if peer in self.farm.registry.workers:
            self._lose_worker(peer, f"it has come again as worker {hello.worker_id:x}")
        worker = WorkerSession(peer, hello, self.farm.health.of(hello.worker_id), self._worker_timeout_s, now_s)
        worker.prefetch_s = self._prefetch_s
        self.farm.registry.add_worker(worker)
        self.farm.counters["workers_joined"] += 1
        self.farm.outbox.note("worker_joined", name=worker.name, worker=worker.worker_id, slots=worker.slots)
        self._board.worker_came(now_s)
        self._lifecycle.placement.worker_changed(worker)
        self._lifecycle.welcome_back(worker)

    def _reason_to_refuse(self, peer: bytes, hello: Hello, now_s: float) -> Refused | None:
        if hello.protocol_version != PROTOCOL_VERSION:
            text = f"{hello.name} speaks protocol version {hello.protocol_version}, this broker {PROTOCOL_VERSION}"
            return Refused(code=VersionMismatch.code, message=text)
        if hello.role is Role.WORKER and (hello.slots < 1 or hello.queue_limit < 1 or hello.worker_id < 1):
            text = f"worker {hello.name}: slots, queue limit and worker id must be 1 or more"
            return Refused(code=BadInput.code, message=text)
        if hello.steal_endpoint and not is_reachable(hello.steal_endpoint):
            text = f"worker {hello.name}: no peer can reach {hello.steal_endpoint[:100]!r}"
            return Refused(code=BadInput.code, message=text)
        is_new = peer not in self.farm.registry.workers and peer not in self.farm.registry.clients
        earlier = self.farm.registry.session_of(hello.worker_id) if hello.role is Role.WORKER else None
        if earlier is not None:
            is_new = False
            silence_s = now_s - earlier.last_seen_s
            if earlier.peer != peer and earlier.away_since_s is None and silence_s < WORKER_TAKEN_S:
                text = f"worker id {hello.worker_id:x} belongs to {earlier.name}, heard of {silence_s:.0f} s ago"
                advice = "a copied cache directory has a copied id: remove its file worker_id"
                return Refused(code=WorkerIdTaken.code, message=f"{text}; {advice}")
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
                taken = [outcome.lease for outcome in message.outcomes if self._lifecycle.complete(worker, outcome)]
                self._acknowledge(worker, tuple(taken))
            case Claim():
                for stolen in message.leases:
                    self._lifecycle.claim(worker, stolen)
            case Report():
                worker.silence.reported(self.farm.now_s)
                worker.health.strained(is_strained=False)
                counters = message.counters[:WORKER_COUNTERS]
                worker.counters = {name: count for name, count in counters if len(name) <= WORKER_COUNTERS}
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

    def _forgive_suspension(self, now_s: float) -> None:
        """Where the broker itself stood still, nobody was silent."""
        stood_s = now_s - self._last_tick_s - BROKER_TICK_S
        self._last_tick_s = now_s
        if stood_s < SUSPENDED_S:
            return
        self.farm.counters["suspensions"] += 1
        self.farm.outbox.note("suspended", for_s=f"{stood_s:.1f}")
        sessions: list[WorkerSession | ClientSession] = [*self.farm.registry.workers.values()]
        sessions += self.farm.registry.clients.values()
        for session in sessions:
            session.last_seen_s = min(now_s, session.last_seen_s + stood_s)
            if session.away_since_s is not None:
                session.away_since_s = min(now_s, session.away_since_s + stood_s)

    def _copy_stragglers(self, records: Iterable[ActionRecord]) -> None:
        """While nothing waits, idle workers run copies of those that take far too long or may be lost."""
        registry, scheduler = self.farm.registry, self.farm.scheduler
        if scheduler.queued:
            return
        for record in [each for each in records if needs_copy(each, registry, self.farm.now_s)]:
            worker = scheduler.worker_for_copy(record)
            if worker is not None:
                self._lifecycle.grant(record, worker)

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


def _is_gone(away_since_s: float | None, now_s: float) -> bool:
    """Whether a peer whose link has closed has not come back in time."""
    return away_since_s is not None and now_s - away_since_s > RECONNECT_GRACE_S

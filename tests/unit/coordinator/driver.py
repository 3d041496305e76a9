"""A broker core with what tests need around it: an action cache in memory, peers, and easy messages."""

from __future__ import annotations

from typing import TypeVar

from zbuild.coordinator.core import BrokerCore
from zbuild.coordinator.journal import JournalState, encode_record, replay
from zbuild.coordinator.reassign import ReassignStrategy
from zbuild.digest import Digest, of_bytes
from zbuild.limits import BROKER_TICK_S, RECONNECT_GRACE_S
from zbuild.model.action import (
    Action,
    ActionId,
    ActionResult,
    OutputFile,
    OutputKind,
    OutputSpec,
    ResultStatus,
    encode_action,
)
from zbuild.model.capabilities import DEFAULT, Capabilities
from zbuild.protocol.effects import Note, Send
from zbuild.protocol.messages import (
    PROTOCOL_VERSION,
    Complete,
    Finished,
    FinishedAction,
    Grant,
    Hello,
    Lease,
    LeaseId,
    Outcome,
    Properties,
    Report,
    Role,
    Submission,
    Submit,
    ToBroker,
    Welcome,
)
from zbuild.testing.broker_books import check_books
from zbuild.testing.store import MemoryResults, MemoryStore

M = TypeVar("M")

EPOCH = 77
OUTPUT = of_bytes(b"an object file")
CLIENT = b"client"
BUILD = 5
AFTER_GRACE_S = 10.0


def action(
    name: str,
    platform: dict[str, str] | None = None,
    *,
    is_cacheable: bool = True,
    sandbox: str = "hermetic",
    capabilities: Capabilities = DEFAULT,
) -> tuple[ActionId, bytes]:
    """An action that differs from those of other names."""
    properties = {"os": "linux"} if platform is None else platform
    return encode_action(
        Action(
            platform=tuple(sorted(properties.items())),
            sandbox=sandbox,
            capabilities=capabilities,
            is_cacheable=is_cacheable,
            arguments=("/bin/sh", "-c", name),
            environment=(),
            working_directory="/zb/build",
            writable_root="/zb/build",
            inputs=(),
            directories=(),
            outputs=(OutputSpec("/zb/build/o"),),
        )
    )


def success(digest: Digest = OUTPUT) -> ActionResult:
    """What a worker reports of a run that made one output."""
    return ActionResult(status=ResultStatus.SUCCESS, outputs=(OutputFile("/zb/build/o", OutputKind.FILE, digest),))


def failure(exit_code: int = 1) -> ActionResult:
    """What a worker reports of a compile error."""
    return ActionResult(status=ResultStatus.FAILURE, exit_code=exit_code)


def broken(code: int = 14, missing: tuple[Digest, ...] = ()) -> ActionResult:
    """What a worker reports when it, not the command, has failed."""
    return ActionResult(status=ResultStatus.ERROR, code=code, message="no sandbox", missing=missing)


class Farm:
    """One broker. Every call returns what the broker then wants to send."""

    def __init__(
        self,
        *,
        max_workers: int = 100,
        worker_timeout_s: float = 15.0,
        former: JournalState | None = None,
        epoch: int = EPOCH,
        now_s: float = 0.0,
        strategy: ReassignStrategy = ReassignStrategy.PRIORITY,
    ) -> None:
        self.store = MemoryStore()
        self.store.add(OUTPUT)
        self.results = MemoryResults(self.store)
        self.now_s = now_s
        self._ticked_s = now_s
        self.sent: list[Send] = []
        self.notes: list[Note] = []
        welcome = Welcome(
            protocol_version=PROTOCOL_VERSION,
            epoch=epoch,
            blob_endpoint="tcp://*:9003",
            heartbeat_endpoint="tcp://*:9001",
            heartbeat_interval_s=5.0,
        )
        self.journal: list[bytes] = []
        self.core = BrokerCore(
            welcome,
            self.results,
            former or JournalState(),
            worker_timeout_s=worker_timeout_s,
            max_workers=max_workers,
            now_s=now_s,
            strategy=strategy,
        )
        self.journal += [encode_record(standing) for standing in self.core.journal_state().standing()]

    def receive(self, peer: bytes, message: ToBroker) -> list[Send]:
        """One message, then a dispatch."""
        self.core.receive(peer, message, self.now_s)
        return self.dispatch()

    def dispatch(self) -> list[Send]:
        """What is to be sent now; Notes are kept aside.

        After every step the broker's tables must agree, and the journal must come to its state.
        """
        effects = self.core.dispatch(self.now_s)
        check_books(self.core.farm)
        self.journal += map(encode_record, self.core.take_journal())
        assert replay(self.journal) == self.core.journal_state()
        self.notes += [effect for effect in effects if isinstance(effect, Note)]
        self.sent = [effect for effect in effects if isinstance(effect, Send)]
        return self.sent

    def tick(self, now_s: float, *, keeps_clients: bool = True) -> list[Send]:
        """Let time pass to ``now_s``, a tick after the other; all that is sent meanwhile.

        ``keeps_clients``: nobody but workers is silent.
        """
        sends: list[Send] = []
        while self._ticked_s < now_s:
            self._ticked_s = min(now_s, self._ticked_s + BROKER_TICK_S)
            self.now_s = max(self.now_s, self._ticked_s)
            for client in self.core.farm.registry.clients.values() if keeps_clients else ():
                client.last_seen_s = self.now_s
            self.core.tick(self.now_s)
            sends += self.dispatch()
        return sends

    def disconnect(self, peer: bytes) -> list[Send]:
        """The transport sees the peer's connection close, and it does not come back."""
        sends = self.cut(peer)
        return sends + self.tick(self.now_s + RECONNECT_GRACE_S + 0.1)

    def cut(self, peer: bytes) -> list[Send]:
        """The transport sees the peer's connection close."""
        self.core.disconnected(peer, self.now_s)
        return self.dispatch()

    def join(self, peer: bytes = CLIENT) -> None:
        """A client comes."""
        self.receive(peer, Hello(protocol_version=PROTOCOL_VERSION, role=Role.CLIENT, name="c", incarnation=1))

    def add_worker(
        self,
        peer: bytes = b"w1",
        *,
        worker_id: int = 1,
        slots: int = 2,
        queue_limit: int = 64,
        sandbox: str = "hermetic",
        platform: dict[str, str] | None = None,
        ceiling: Capabilities = DEFAULT,
        incarnation: int | None = None,
    ) -> list[Send]:
        """A worker comes."""
        properties = {"os": "linux"} if platform is None else platform
        return self.receive(
            peer,
            Hello(
                protocol_version=PROTOCOL_VERSION,
                role=Role.WORKER,
                name=peer.decode(),
                incarnation=worker_id if incarnation is None else incarnation,
                worker_id=worker_id,
                slots=slots,
                queue_limit=queue_limit,
                sandbox=sandbox,
                platform=tuple(sorted(properties.items())),
                ceiling=ceiling,
            ),
        )

    def submit(
        self,
        *actions: tuple[ActionId, bytes],
        peer: bytes = CLIENT,
        build: int = BUILD,
        priority: int = 50,
        weight_s: float = 1.0,
        expected_s: float = 1.0,
    ) -> list[Send]:
        """A client asks for actions."""
        submissions = tuple(Submission(each, body, weight_s, expected_s) for each, body in actions)
        return self.receive(peer, Submit(build=build, priority=priority, actions=submissions))

    def complete(self, lease: LeaseId, result: ActionResult, worker: bytes = b"w1") -> list[Send]:
        """A worker reports the end of a lease."""
        return self.receive(worker, Complete(outcomes=(Outcome(lease, result),)))

    def report(
        self, *held: LeaseId, sequence: int, worker: bytes = b"w1", running: int = 0, is_draining: bool = False
    ) -> list[Send]:
        """A worker reports what it holds."""
        return self.receive(worker, Report(sequence=sequence, held=held, running=running, is_draining=is_draining))

    def receive_properties(self, worker: str, compiler: str) -> list[Send]:
        """A worker tells the fingerprint of its compiler; "" when it has none."""
        return self.receive(worker.encode(), Properties(values=(("tool:/usr/bin/cc", compiler),)))


def messages(sends: list[Send], kind: type[M], peer: bytes | None = None) -> list[M]:
    """The messages of one type, to one peer if it is given."""
    return [send.message for send in sends if isinstance(send.message, kind) and (peer is None or send.peer == peer)]


def grants(sends: list[Send], peer: bytes | None = None) -> list[Grant]:
    """All grants, in the order in which they were made."""
    return [grant for lease in messages(sends, Lease, peer) for grant in lease.grants]


def answers(sends: list[Send], peer: bytes | None = None) -> list[FinishedAction]:
    """All results that clients are told."""
    return [action for finished in messages(sends, Finished, peer) for action in finished.actions]

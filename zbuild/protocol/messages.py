"""Every message of the control channel and of the heartbeats. steal_messages.py has those between workers.

On the wire a message is a msgpack array whose first element is its MessageType. Numbers 0 to 10
are the seed's; the rest continue them. Each docstring says: sender -> receiver, when, and what
losing the message costs.
"""

from __future__ import annotations

import enum

import msgspec

from zbuild.model.action import ActionId, ActionResult
from zbuild.model.capabilities import Capabilities
from zbuild.protocol.message_type import MessageType
from zbuild.protocol.status_messages import Status, StatusRequest

PROTOCOL_VERSION = 1
"""The seed's ``ProtocolVersion.V1``. Peers of another version are refused at Hello."""


class Role(enum.IntEnum):
    """What a peer of the broker is."""

    CLIENT = 1
    WORKER = 2


class WorkerState(enum.IntEnum):
    """The seed's states of a worker, of those that this version enters."""

    IDLE = 0
    EXECUTING = 1
    STEALING = 2
    DRAINING = 5


class LeaseId(msgspec.Struct, frozen=True, array_like=True):
    """A permission to run one attempt of one action, granted by one life of the broker."""

    action: ActionId
    attempt: int
    epoch: int


class Hello(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.REGISTRATION)):
    """client or worker -> broker, first on every connection and again when the broker does not know the sender.

    Losing it costs a keepalive or report interval: the broker answers those of a stranger with Refused.

    Attributes:
        incarnation: random, new with each start of the process.
        worker_id: stable over restarts of a worker; 0 for a client.
        slots: actions that the worker runs at once.
        queue_limit: leases that the worker holds at most, running ones included.
        platform: (name, value) of the properties known at start.
        ceiling: what a worker grants to an action at most.
        limits: how a worker enforces them, for people: ``cgroup v2``.
        steal_endpoint: where a worker answers its peers; empty: it takes no part in stealing.
    """

    protocol_version: int
    role: Role
    name: str
    incarnation: int
    worker_id: int = 0
    slots: int = 0
    queue_limit: int = 0
    sandbox: str = ""
    platform: tuple[tuple[str, str], ...] = ()
    ceiling: Capabilities = Capabilities()
    limits: str = ""
    steal_endpoint: str = ""


class Welcome(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.WELCOME)):
    """broker -> client or worker, in answer to Hello. Losing it costs one repeat of Hello.

    Attributes:
        epoch: the life of the broker. Leases of an earlier one are void.
        blob_endpoint: where the store listens; a host of ``*`` stands for the broker's own.
        heartbeat_endpoint: where heartbeats are published to.
        announcement_endpoint: where the broker publishes who is there; empty: nowhere.
    """

    protocol_version: int
    epoch: int
    blob_endpoint: str
    heartbeat_endpoint: str
    heartbeat_interval_s: float
    announcement_endpoint: str = ""


class Refused(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.REFUSED)):
    """broker -> anyone, when a message cannot be accepted. Losing it costs the sender a time-out.

    Attributes:
        code: the wire code of an error class; UNKNOWN_PEER asks for a Hello.
    """

    code: int
    message: str


UNKNOWN_PEER = 0
"""The code of a Refused that asks the peer to introduce itself (again)."""


class Submission(msgspec.Struct, frozen=True, array_like=True):
    """One action of a Submit.

    Attributes:
        body: the encoded Action; its BLAKE3 hash must be ``action``.
        weight_s: the longest remaining path of the build through this action, in seconds.
        expected_s: how long the action itself is expected to run.
    """

    action: ActionId
    body: bytes
    weight_s: float
    expected_s: float


class Submit(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.ACTION_REQUEST)):
    """client -> broker, when actions have become ready. Losing it costs a keepalive interval: see Keepalive."""

    build: int
    priority: int
    actions: tuple[Submission, ...]


class FinishedAction(msgspec.Struct, frozen=True, array_like=True):
    """One action of a Finished. ``attempts`` is 0 when the result came from the cache.

    Attributes:
        stolen_from: the worker that the broker had given it to, if another one ran it; empty: the same.
    """

    action: ActionId
    result: ActionResult
    is_cached: bool
    attempts: int
    stolen_from: str = ""


class Finished(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.FINISHED)):
    """broker -> client, for each action of a build. Losing it costs a keepalive interval and one cache look-up."""

    build: int
    actions: tuple[FinishedAction, ...]


class Cancel(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.CANCEL)):
    """client -> broker, when a build is given up. Losing it costs the rest of the running actions.

    Attributes:
        is_queued_only: only what no worker holds yet is given up, and answered as CANCELLED; the rest runs on.
    """

    build: int
    is_queued_only: bool = False


class Keepalive(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.KEEPALIVE)):
    """client -> broker, at an interval: all that the client waits for. Losing it costs one interval."""

    build: int
    awaited: tuple[ActionId, ...]


class BuildState(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.BUILD_STATE)):
    """broker -> client, in answer to Keepalive. Losing it costs one interval.

    Attributes:
        unknown: awaited actions that the broker does not know, the first UNKNOWN_ACTIONS of them; the client
            submits them again.
        running: those of the client's actions that are leased.
        queued: those that wait for a worker.
        workers: workers that are connected.
    """

    build: int
    unknown: tuple[ActionId, ...]
    running: int
    queued: int
    workers: int


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """One lease of a Lease message or of a StealResponse, with the action it is for.

    Attributes:
        weight_s, expected_s: see Submission.
        hops: how often the lease has gone from worker to worker.
    """

    lease: LeaseId
    body: bytes
    priority: int
    weight_s: float
    expected_s: float = 0.0
    hops: int = 0


class Lease(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.LEASE)):
    """broker -> worker, when the worker has room. Losing it costs a report interval: see Report.

    Attributes:
        sequence: counts the Lease messages of this life of the broker, to all workers, from 1: so no number
            of an earlier session of the worker can be taken for one of this.
    """

    sequence: int
    grants: tuple[Grant, ...]


class Revoke(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.REVOKE)):
    """broker -> worker, when nobody waits for an action any more. Losing it costs the run of the action."""

    leases: tuple[LeaseId, ...]


class Report(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.WORK_REQUEST)):
    """worker -> broker, at an interval and when it starts to drain: all leases that it holds.

    It renews them. A lease granted up to ``sequence`` and not held is lost, and is granted anew.
    Losing a report costs one interval.

    Attributes:
        sequence: of the last Lease message that the worker has seen, or was told of by an Acknowledge.
        held: queued or running leases, and results not yet acknowledged.
        is_draining: the worker takes no more leases.
        counters: (name, count) of everything that the worker counts, since its start.
    """

    sequence: int
    held: tuple[LeaseId, ...]
    running: int
    is_draining: bool
    counters: tuple[tuple[str, int], ...] = ()


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """The end of one lease. ``hops``: as in StolenLease, so that it is a claim, too; 0 for one that was not stolen."""

    lease: LeaseId
    result: ActionResult
    hops: int = 0


class Complete(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.ACTION_RESULT)):
    """worker -> broker, when leases have ended, and with each report until acknowledged.

    Losing it costs one report interval.
    """

    outcomes: tuple[Outcome, ...]


class StolenLease(msgspec.Struct, frozen=True, array_like=True):
    """One lease of a Claim. ``hops``: how often it has gone from worker to worker by now, at least once."""

    lease: LeaseId
    hops: int


class Claim(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.CLAIM)):
    """worker -> broker, when it has stolen leases, and before each report while it holds them.

    The broker takes the sender for their holder, and revokes them where they were; those that are fenced, or that
    have gone further since, it revokes here. Losing it costs one report interval.
    """

    leases: tuple[StolenLease, ...]


class Acknowledge(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.ACKNOWLEDGE)):
    """broker -> worker, for each Complete and Report. Losing it costs one repetition of a result.

    Attributes:
        leases: whose results the broker has.
        sequence: of the last Lease message sent to the worker. One that has not come by now is lost, and
            the worker's next Report says so.
    """

    leases: tuple[LeaseId, ...]
    sequence: int


class QueryProperties(
    msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.QUERY_PROPERTIES)
):
    """broker -> worker, when an action requires properties of which the worker has not spoken yet.

    Losing it costs a tick: it is repeated until answered.
    """

    names: tuple[str, ...]


class Properties(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.PROPERTIES)):
    """worker -> broker, in answer to QueryProperties, when a value has changed, and after a Welcome.

    An empty value: it has none. Losing it costs a repetition of the question. Losing a changed value costs attempts
    that the worker refuses, until the next Welcome.
    """

    values: tuple[tuple[str, str], ...]


EVALUABLE_PREFIXES = ("tool:", "file:")
"""Properties whose value a worker computes when asked. Every other one is part of its Hello."""

PROPERTY_ERROR = "error: "
"""Begins the value of a property that a worker has failed to find out. No action can require it."""


class HeartBeat(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.HEARTBEAT)):
    """worker -> broker over PUB/SUB, every 5 s, below 1 KB: absolute state, the latest wins.

    It renews no lease. Losing it costs the freshness of a figure.

    Attributes:
        load_factor: 0.0 to 1.0, as the seed weighs it: 0.7 of the queue's share of its room, 0.3 of the slots' use.
    """

    worker_id: int
    incarnation: int
    sequence: int
    state: WorkerState
    queue_depth: int
    active_actions: int
    cpu_usage: float
    memory_usage: float
    disk_usage: float
    load_factor: float = 0.0


class Shutdown(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.SHUTDOWN)):
    """broker -> worker: the broker is going away in order. Losing it costs the noise of a reconnect."""

    reason: str


class Goodbye(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.GOODBYE)):
    """client or worker -> broker, last. Losing it costs the time-out of the session."""


ToBroker = Hello | Submit | Cancel | Keepalive | Report | Complete | Claim | Properties | StatusRequest | Goodbye
ToClient = Welcome | Refused | Finished | BuildState | Status
ToWorker = Welcome | Refused | Lease | Revoke | Acknowledge | QueryProperties | Shutdown
Message = ToBroker | Finished | BuildState | Status | ToWorker | HeartBeat

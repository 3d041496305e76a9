"""Every message of the control channel and of the heartbeats.

On the wire a message is a msgpack array whose first element is its MessageType. Numbers 0 to 10
are the seed's; the rest continue them. Each docstring says: sender -> receiver, when, and what
losing the message costs.
"""

from __future__ import annotations

import enum

import msgspec

from zbuild.model.action import ActionId, ActionResult
from zbuild.model.capabilities import Capabilities

PROTOCOL_VERSION = 1
"""The seed's ``ProtocolVersion.V1``. Peers of another version are refused at Hello."""


class MessageType(enum.IntEnum):
    """The first element of every message."""

    REGISTRATION = 0
    ACTION_REQUEST = 1
    ACTION_RESULT = 2
    HEARTBEAT = 3
    SHUTDOWN = 6
    WORK_REQUEST = 7
    WELCOME = 16
    REFUSED = 17
    LEASE = 18
    REVOKE = 19
    ACKNOWLEDGE = 20
    QUERY_PROPERTIES = 21
    PROPERTIES = 22
    FINISHED = 23
    CANCEL = 24
    KEEPALIVE = 25
    BUILD_STATE = 26
    STATUS_REQUEST = 27
    STATUS = 28
    GOODBYE = 29


class Role(enum.IntEnum):
    """What a peer of the broker is."""

    CLIENT = 1
    WORKER = 2


class WorkerState(enum.IntEnum):
    """The seed's states of a worker, of those that this version enters."""

    IDLE = 0
    EXECUTING = 1
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


class Welcome(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.WELCOME)):
    """broker -> client or worker, in answer to Hello. Losing it costs one repeat of Hello.

    Attributes:
        epoch: the life of the broker. Leases of an earlier one are void.
        blob_endpoint: where the store listens; a host of ``*`` stands for the broker's own.
        heartbeat_endpoint: where heartbeats are published to.
    """

    protocol_version: int
    epoch: int
    blob_endpoint: str
    heartbeat_endpoint: str
    heartbeat_interval_s: float


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
    """One action of a Finished. ``attempts`` is 0 when the result came from the cache."""

    action: ActionId
    result: ActionResult
    is_cached: bool
    attempts: int


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
    """One lease of a Lease message, with the action it is for."""

    lease: LeaseId
    body: bytes
    priority: int
    weight_s: float


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
    """The end of one lease."""

    lease: LeaseId
    result: ActionResult


class Complete(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.ACTION_RESULT)):
    """worker -> broker, when leases have ended, and with each report until acknowledged.

    Losing it costs one report interval.
    """

    outcomes: tuple[Outcome, ...]


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


PROPERTY_ERROR = "error: "
"""Begins the value of a property that a worker has failed to find out. No action can require it."""


class HeartBeat(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.HEARTBEAT)):
    """worker -> broker over PUB/SUB, every 5 s, below 1 KB: absolute state, the latest wins.

    It renews no lease. Losing it costs the freshness of a figure.
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


class Shutdown(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.SHUTDOWN)):
    """broker -> worker: the broker is going away in order. Losing it costs the noise of a reconnect."""

    reason: str


class StatusRequest(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.STATUS_REQUEST)):
    """client -> broker, for ``zbuild status``. Losing it costs the client its time-out."""


class WorkerStatus(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One worker of a Status. Ages in seconds; usages from 0.0 to 1.0, or -1.0 when no heartbeat has come.

    Attributes:
        health: a HealthState; quarantined_s is how long nothing is granted to a failed worker, else 0.0.
        platform: the first (name, value) of its properties; what does not fit a message is left out.
        properties: how many it has told of.
    """

    worker_id: int
    name: str
    slots: int
    held: int
    running: int
    sandbox: str
    limits: str
    is_draining: bool
    report_age_s: float
    health: str
    quarantined_s: float
    cpu_usage: float
    memory_usage: float
    disk_usage: float
    platform: tuple[tuple[str, str], ...]
    properties: int


class Status(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.STATUS)):
    """broker -> client, in answer to StatusRequest. Losing it costs the client its time-out.

    Attributes:
        counters: (name, count) of everything that the broker counts, sorted by name. Those of its parts begin with
            ``control_`` (its socket), ``results_`` (the action cache) and ``store_``; those that begin with ``worker_``
            are the sums over the workers that are connected.
    """

    epoch: int
    uptime_s: float
    workers: tuple[WorkerStatus, ...]
    clients: int
    queued: int
    leased: int
    cache_entries: int
    store_free_bytes: int
    counters: tuple[tuple[str, int], ...]


class Goodbye(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.GOODBYE)):
    """client or worker -> broker, last. Losing it costs the time-out of the session."""


ToBroker = Hello | Submit | Cancel | Keepalive | Report | Complete | Properties | StatusRequest | Goodbye
ToClient = Welcome | Refused | Finished | BuildState | Status
ToWorker = Welcome | Refused | Lease | Revoke | Acknowledge | QueryProperties | Shutdown
Message = ToBroker | Finished | BuildState | Status | ToWorker | HeartBeat

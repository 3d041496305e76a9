"""What ``zbuild status`` asks for and is told."""

from __future__ import annotations

import msgspec

from zbuild.protocol.message_type import MessageType


class StatusRequest(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.STATUS_REQUEST)):
    """client -> broker, for ``zbuild status``. Losing it costs the client its time-out."""


class WorkerStatus(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One worker of a Status. Ages in seconds; usages from 0.0 to 1.0, or -1.0 when no heartbeat has come.

    Attributes:
        health: a HealthState; quarantined_s is how long nothing is granted to a failed worker, else 0.0.
        platform: the first (name, value) of its properties; what does not fit a message is left out.
        properties: how many it has told of.
        stolen: leases that it has had from other workers since its start; given: those that others had from it.
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
    stolen: int = 0
    given: int = 0


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

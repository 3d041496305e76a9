"""The snapshot behind ``zbuild status``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from zbuild.coordinator.farm_state import FarmState
from zbuild.coordinator.health import HealthState
from zbuild.coordinator.registry import WorkerSession
from zbuild.limits import CONTROL_MESSAGE_BYTES, STATUS_WORKER_BYTES
from zbuild.protocol.status_messages import Status, WorkerStatus

_FIELD_CHARS = 64
"""Of the name and the sandbox of a worker: the longest name that DNS has for a host, and one more."""


def snapshot(farm: FarmState, now_s: float) -> Status:
    """What the broker knows at this moment, as far as it fits one message."""
    workers = farm.registry.workers.values()
    room_bytes = min(STATUS_WORKER_BYTES, CONTROL_MESSAGE_BYTES // 2 // max(1, len(workers)))
    return Status(
        epoch=farm.epoch,
        uptime_s=now_s - farm.started_s,
        workers=tuple(_worker_status(worker, now_s, room_bytes) for worker in workers),
        clients=len(farm.registry.clients),
        queued=farm.scheduler.queued,
        leased=len(farm.actions) - farm.scheduler.queued,
        cache_entries=farm.results.entries(),
        store_free_bytes=farm.results.free_bytes(),
        counters=tuple(sorted(_counters(farm, workers).items())),
    )


def _counters(farm: FarmState, workers: Iterable[WorkerSession]) -> Counter[str]:
    found = Counter(farm.counters)
    for part, counters in farm.counted_by.items():
        found.update({f"{part}_{name}": count for name, count in counters.items()})
    for worker in workers:
        found.update({f"worker_{name}": count for name, count in worker.counters.items()})
    return found


def _worker_status(worker: WorkerSession, now_s: float, room_bytes: int) -> WorkerStatus:
    heartbeat = worker.heartbeat
    return WorkerStatus(
        worker_id=worker.worker_id,
        name=worker.name[:_FIELD_CHARS],
        slots=worker.slots,
        held=len(worker.held),
        running=worker.running,
        sandbox=worker.sandbox[:_FIELD_CHARS],
        limits=worker.limits[:_FIELD_CHARS],
        is_draining=worker.is_draining,
        report_age_s=now_s - worker.last_seen_s,
        health=worker.health.state.value,
        quarantined_s=max(0.0, worker.health.retry_s - now_s) if worker.health.state is HealthState.FAILED else 0.0,
        cpu_usage=heartbeat.cpu_usage if heartbeat else -1.0,
        memory_usage=heartbeat.memory_usage if heartbeat else -1.0,
        disk_usage=heartbeat.disk_usage if heartbeat else -1.0,
        platform=_fitting(sorted(worker.platform.items()), room_bytes),
        properties=len(worker.platform),
        stolen=worker.counters.get("steal_actions", 0),
        given=worker.counters.get("steal_given", 0),
    )


def _fitting(properties: Iterable[tuple[str, str]], room_bytes: int) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for name, value in properties:
        room_bytes -= len(name.encode()) + len(value.encode())
        if room_bytes < 0:
            break
        found.append((name, value))
    return tuple(found)

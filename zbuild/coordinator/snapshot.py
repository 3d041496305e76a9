"""The snapshot behind ``zbuild status``."""

from __future__ import annotations

from zbuild.coordinator.farm_state import FarmState
from zbuild.coordinator.health import HealthState
from zbuild.coordinator.registry import WorkerSession
from zbuild.protocol.messages import Status, WorkerStatus


def snapshot(farm: FarmState, now_s: float) -> Status:
    """What the broker knows at this moment."""
    return Status(
        epoch=farm.epoch,
        uptime_s=now_s - farm.started_s,
        workers=tuple(_worker_status(worker, now_s) for worker in farm.registry.workers.values()),
        clients=len(farm.registry.clients),
        queued=farm.scheduler.queued,
        leased=len(farm.actions) - farm.scheduler.queued,
        cache_entries=farm.results.entries(),
        store_free_bytes=farm.results.free_bytes(),
        counters=tuple(sorted(farm.counters.items())),
    )


def _worker_status(worker: WorkerSession, now_s: float) -> WorkerStatus:
    heartbeat = worker.heartbeat
    return WorkerStatus(
        worker_id=worker.worker_id,
        name=worker.name,
        slots=worker.slots,
        held=len(worker.held),
        running=worker.running,
        sandbox=worker.sandbox,
        limits=worker.limits,
        is_draining=worker.is_draining,
        report_age_s=now_s - worker.last_seen_s,
        health=worker.health.state.value,
        quarantined_s=max(0.0, worker.health.retry_s - now_s) if worker.health.state is HealthState.FAILED else 0.0,
        cpu_usage=heartbeat.cpu_usage if heartbeat else -1.0,
        memory_usage=heartbeat.memory_usage if heartbeat else -1.0,
        disk_usage=heartbeat.disk_usage if heartbeat else -1.0,
        platform=tuple(sorted(worker.platform.items())),
    )

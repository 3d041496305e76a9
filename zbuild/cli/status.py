"""``zbuild status``: a farm's workers, slots, queue and cache."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from zbuild.config import ClientConfig
from zbuild.errors import ExitCode, ZbuildError
from zbuild.limits import MIB
from zbuild.protocol.status_messages import Status, WorkerStatus


def main(arguments: list[str]) -> int:
    """Ask the broker and print what it answers."""
    parser = argparse.ArgumentParser(prog="zbuild status", description="Show a farm's workers, queue and cache.")
    parser.add_argument("--coordinator", metavar="URL", help="the broker, http://HOST:9000")
    parser.add_argument("--distributed", action="store_true", help="find the broker on the LAN")
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings; flags override it")
    parser.add_argument("--json", dest="is_json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(arguments)
    try:
        from zbuild.cli.farm_address import farm_address
        from zbuild.client.status_query import query_status

        config = ClientConfig.load(flags.config, {"coordinator": flags.coordinator})
        status = query_status(farm_address(config, is_distributed=flags.distributed))
    except ZbuildError as error:
        print(f"zbuild: error: {error}", file=sys.stderr)
        return int(error.exit_code)
    print(json.dumps(_as_object(status)) if flags.is_json else "\n".join(_as_lines(status)))
    return int(ExitCode.OK)


def _as_object(status: Status) -> dict[str, Any]:
    return {
        "epoch": status.epoch,
        "uptime_seconds": round(status.uptime_s, 3),
        "workers": [
            {
                "id": worker.worker_id,
                "name": worker.name,
                "slots": worker.slots,
                "held": worker.held,
                "running": worker.running,
                "sandbox": worker.sandbox,
                "limits": worker.limits,
                "draining": worker.is_draining,
                "health": worker.health,
                "quarantined_seconds": round(worker.quarantined_s, 3),
                "report_age_seconds": round(worker.report_age_s, 3),
                "cpu": worker.cpu_usage,
                "memory": worker.memory_usage,
                "disk": worker.disk_usage,
                "platform": dict(worker.platform),
                "properties": worker.properties,
                "stolen": worker.stolen,
                "given": worker.given,
            }
            for worker in status.workers
        ],
        "slots": sum(worker.slots for worker in status.workers),
        "clients": status.clients,
        "queued": status.queued,
        "leased": status.leased,
        "cache_entries": status.cache_entries,
        "store_free_bytes": status.store_free_bytes,
        "counters": dict(status.counters),
    }


def _as_lines(status: Status) -> list[str]:
    slots = sum(worker.slots for worker in status.workers)
    counters = dict(status.counters)
    lines = [
        f"broker: up {status.uptime_s:.0f} s, {len(status.workers)} workers, {slots} slots, {status.clients} clients",
        f"queue:  {status.queued} queued, {status.leased} leased",
        f"cache:  {status.cache_entries} results, {counters.get('cache_hits', 0)} hits, "
        f"{counters.get('cache_misses', 0)} misses, {status.store_free_bytes // MIB} MiB free",
    ]
    if status.workers:
        lines.append(
            f"{'WORKER':20} {'SLOTS':>5} {'HELD':>5} {'RUN':>4} {'STOLEN':>6} {'GIVEN':>5} "
            f"{'CPU':>5} {'MEM':>5} {'SEEN':>6}  SANDBOX, LIMITS"
        )
    lines += [_worker_line(worker) for worker in status.workers]
    lines += [f"{name}: {count}" for name, count in status.counters]
    return lines


def _worker_line(worker: WorkerStatus) -> str:
    state = f"{worker.sandbox}, {worker.limits}" + (", draining" if worker.is_draining else "")
    if worker.health != "healthy":
        state += f", {worker.health}"
    if worker.quarantined_s:
        state += f": in quarantine for {worker.quarantined_s:.0f} s"
    return (
        f"{worker.name:20} {worker.slots:5} {worker.held:5} {worker.running:4} "
        f"{worker.stolen:6} {worker.given:5} {_share(worker.cpu_usage):>5} "
        f"{_share(worker.memory_usage):>5} {worker.report_age_s:4.1f} s  {state}"
    )


def _share(value: float) -> str:
    return "-" if value < 0 else f"{value:.0%}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

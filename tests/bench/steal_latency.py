"""Real steals between two real workers, and bare echoes of the same sizes, in turn."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench.echo import FLAVOURS, GREEN
from tests.bench.report import Aim, Report, Row
from tests.bench.waiting_action import INPUT_COUNT
from tests.bench.waiting_farm import PREFETCH_S, WaitingFarm
from tests.bench.waiting_workers import WorkerSpec
from tests.bench.workspace import Workspace, module

TRANSPORTS = ("ipc", "tcp")
VICTIM_SLOWNESS = 500.0
"""The victim's own actions last so long that its queue is there to be stolen."""

ACTION_S = 0.001
PAUSE_S = 0.01
"""Between echoes: about as long as a thief pauses, so that both sides have to be woken in both."""

ECHO_S = 120.0
TELL_S = 10.0


@dataclass
class Sizes:
    """What has been measured of steals of one size over one transport; seconds.

    Attributes:
        room: leases that the thief can hold.
        actions: stolen by each steal, in the order of ``steals``.
        echoes: by flavour; ``tight``: without pauses.
        ratios: p50 of the steals to p50 of the green echo, for each round.
    """

    transport: str
    room: int
    request_bytes: int = 0
    reply_bytes: int = 0
    steals: list[float] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    echoes: dict[str, list[float]] = field(default_factory=dict)
    tight: dict[str, list[float]] = field(default_factory=dict)
    ratios: list[float] = field(default_factory=list)


def measure_latency(
    report: Report, workspace: Workspace, *, rounds: int, seconds: float, echoes: int, first_farm: int
) -> None:
    """Add tables and aims of steals of one action and of as many as the product's default queue holds."""
    found = [Sizes(transport, room) for transport in TRANSPORTS for room in (1, 257)]
    for number in range(rounds):
        for place, sizes in enumerate(found):
            _steal(sizes, workspace, first_farm + number * len(found) + place, seconds)
            for flavour in FLAVOURS:
                _echo(sizes, workspace, flavour, echoes)
            sizes.ratios.append(sizes.ratios.pop() / median(sizes.echoes[GREEN][-echoes:]))
    report.tables["steals and echoes of the same sizes"] = [row for sizes in found for row in _rows(sizes)]
    for sizes in found:
        what = f"{_actions(sizes)} over {sizes.transport}"
        report.aims.append(Aim(f"steal of {what} to green echo, p50", round(median(sizes.ratios), 2), "<=", 1.5))
    for sizes in found:
        per_action = median(latency / count for latency, count in zip(sizes.steals, sizes.actions, strict=True))
        if sizes.room > 1:
            aim = Aim(f"us per stolen action, {sizes.transport}, p50", round(per_action * 1e6, 1), "<=", 100)
            report.aims.append(aim)
    report.notes.append(
        f"a steal is measured in the thief, from before the request is encoded until the response is decoded;"
        f" actions have {INPUT_COUNT} inputs; echoes are {PAUSE_S * 1e3:g} ms apart, as steals are, but for 'tight'"
    )


def _steal(sizes: Sizes, workspace: Workspace, number: int, seconds: float) -> None:
    """One farm of a victim that the broker keeps full and a thief that the broker gives nothing."""
    with WaitingFarm(workspace, number, prefetch_s=PREFETCH_S) as farm:
        thief_room = sizes.room - 1
        farm.start_workers(
            [
                WorkerSpec(name="victim", listen=_endpoint(sizes.transport, farm.path, "v"), slowness=VICTIM_SLOWNESS),
                WorkerSpec(
                    name="thief",
                    listen=_endpoint(sizes.transport, farm.path, "t"),
                    queue=thief_room,
                    sandbox="process",
                ),
            ]
        )
        farm.wait_for_workers()
        client = farm.client(number, 300 + int(seconds / ACTION_S), (ACTION_S, ACTION_S), "uniform", INPUT_COUNT)
        try:
            farm.wait_until(lambda status: any(worker.stolen for worker in status.workers), "the first steal")
            time.sleep(seconds)
        finally:
            client.kill()
            client.wait()
            if client.stdout is not None:
                client.stdout.close()
        thief = farm.stop()["thief"]
    steals = thief.steals[1:]
    sizes.steals += [sample.latency_s for sample in steals]
    sizes.actions += [sample.actions for sample in steals]
    sizes.ratios.append(median(sample.latency_s for sample in steals))
    sent, received = thief.traffic["REQ out"], thief.traffic["REQ in"]
    sizes.request_bytes = sent.largest_bytes
    sizes.reply_bytes = received.largest_bytes


def _echo(sizes: Sizes, workspace: Workspace, flavour: str, count: int) -> None:
    server = subprocess.Popen(
        module("tests.bench.echo", "serve", flavour, _endpoint(sizes.transport, workspace.path, "echo")),
        env=workspace.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        endpoint = server.stdout.readline().strip()
        for found, times, pause_s in ((sizes.echoes, count, PAUSE_S), (sizes.tight, count, 0.0)):
            words = ["ask", flavour, endpoint, times, sizes.request_bytes, sizes.reply_bytes, pause_s]
            done = subprocess.run(
                module("tests.bench.echo", *words),
                env=workspace.environment(),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                timeout=ECHO_S,
            )
            found.setdefault(flavour, []).extend(json.loads(done.stdout))
    finally:
        server.kill()
        server.communicate()


def _rows(sizes: Sizes) -> list[Row]:
    stolen = median(sizes.actions)
    steals: Row = {"what": "steal", **_latencies(sizes, sizes.steals), "tight_p50_us": None}
    steals["p50_us_per_action"] = round(
        1e6 * median(latency / count for latency, count in zip(sizes.steals, sizes.actions, strict=True)), 1
    )
    rows = [steals]
    for flavour in FLAVOURS:
        row: Row = {"what": f"{flavour} echo", **_latencies(sizes, sizes.echoes[flavour])}
        row["tight_p50_us"] = round(1e6 * median(sizes.tight[flavour]))
        row["p50_us_per_action"] = round(1e6 * median(sizes.echoes[flavour]) / stolen, 1)
        rows.append(row)
    return rows


def _latencies(sizes: Sizes, latencies: list[float]) -> Row:
    ordered = sorted(latencies)
    return {
        "transport": sizes.transport,
        "actions": median(sizes.actions),
        "request_bytes": sizes.request_bytes,
        "reply_bytes": sizes.reply_bytes,
        "samples": len(ordered),
        "p50_us": round(1e6 * median(ordered)),
        "p99_us": round(1e6 * ordered[-(-99 * len(ordered) // 100) - 1]),
    }


def _actions(sizes: Sizes) -> str:
    count = median(sizes.actions)
    return f"{count:g} action{'s' * (count != 1)}"


def _endpoint(transport: str, directory: Path, name: str) -> str:
    return f"ipc://{directory}/{name}" if transport == "ipc" else "tcp://127.0.0.1:*"

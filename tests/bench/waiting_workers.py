"""Real worker processes that wait instead of computing, forked from one process that has imported what they need.

So their unchanged pages are shared, as those of an embedded farm are. Each line of the input is a WorkerSpec as
JSON, and starts one. At the end of the input all end, and each leaves a WorkerReport in DIRECTORY/NAME.json.

Usage: python -m tests.bench.waiting_workers BROKER DIRECTORY
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import prctl

from tests.bench.waiting_action import WaitingExecutor
from tests.bench.worker_record import StealSample, Traffic, WorkerRecord
from zbuild.inputs.toolchain import Toolchain
from zbuild.log import Level, Log, LogFormat
from zbuild.module_process import ForkedProcess, fork
from zbuild.protocol.messages import PROTOCOL_VERSION, Hello, Role
from zbuild.sandbox import spawn_loop
from zbuild.sandbox.spawner import start_spawner
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.eviction import Evictor
from zbuild.storage.idle_eviction import IdleEviction
from zbuild.transport.green import Wakeup
from zbuild.worker.agent import Agent
from zbuild.worker.blob_link import BlobLink
from zbuild.worker.machine_load import MachineLoad
from zbuild.worker.peer_blobs import PeerBlobs
from zbuild.worker.platform import Platform
from zbuild.worker.processes import Processes
from zbuild.worker.steal_settings import StealSettings
from zbuild.worker.steal_strategy import StealStrategy

END_S = 10.0
"""A worker that has not ended so long after its lifeline was cut is killed."""

LEVEL = "hermetic"
"""What the actions ask for. Nothing is run, so nothing is confined."""

IMPORTED_LATER = (spawn_loop,)
"""What the workers' spawners import: it is shared as well."""


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One worker.

    Attributes:
        queue: leases that it holds beyond its slots; 256 is the product's default.
        listen: where it answers its peers; empty: it takes no part in stealing.
        slowness: how many times as long as they say its actions wait.
        sandbox: the level that it tells the broker; with another one than LEVEL all that it gets is stolen.
    """

    name: str
    slots: int = 1
    queue: int = 256
    listen: str = ""
    strategy: str = StealStrategy.POWER_OF_TWO.value
    slowness: float = 1.0
    sandbox: str = LEVEL


class WorkerReport(msgspec.Struct, frozen=True):
    """What one worker has seen. ``lived_s``: from its start to its end."""

    counters: dict[str, int]
    traffic: dict[str, Traffic]
    steals: list[StealSample]
    lived_s: float


def main(broker: str, directory: str) -> int:
    """Fork workers until the input ends."""
    ours, theirs = socket.socketpair()
    workers: list[ForkedProcess] = []
    for line in sys.stdin:
        spec = msgspec.json.decode(line, type=WorkerSpec)
        workers.append(_start(spec, broker, Path(directory), theirs.fileno()))
    theirs.close()
    ours.close()
    deadline_s = time.monotonic() + END_S
    for worker in workers:
        try:
            worker.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
    return 0


def _start(spec: WorkerSpec, broker: str, directory: Path, lifeline: int) -> ForkedProcess:
    def run() -> int:
        prctl.set_name("zbuild-worker")
        _work(spec, broker, directory, lifeline)
        return 0

    return fork(run, [lifeline])


def _work(spec: WorkerSpec, broker: str, directory: Path, lifeline: int) -> None:
    began_s = time.monotonic()
    spawner = start_spawner()
    record = WorkerRecord()
    record.install()
    wakeup = Wakeup()
    cache = directory / f"cache-{spec.name}"
    blobs = BlobDirectory(str(cache), is_durable=False)
    blob_link = BlobLink(blobs, wakeup)
    hello = Hello(
        protocol_version=PROTOCOL_VERSION,
        role=Role.WORKER,
        name=spec.name,
        incarnation=secrets.randbits(63),
        worker_id=secrets.randbits(63),
        slots=spec.slots,
        queue_limit=spec.slots + spec.queue,
        sandbox=spec.sandbox,
    )
    agent = Agent(
        hello,
        broker,
        WaitingExecutor(spec.slowness),
        blob_link,
        Processes(spawner),
        Platform(Toolchain(None), wakeup, {}),
        MachineLoad(str(cache)),
        IdleEviction(Evictor(blobs, 1 << 40, lambda _digest: False)),
        wakeup,
        StealSettings(is_enabled=bool(spec.listen), strategy=StealStrategy(spec.strategy)),
        (spec.listen,) if spec.listen else (),
        lifeline,
        Log(sys.stderr.buffer, time.time, LogFormat.LOGFMT, Level.WARNING),
        PeerBlobs(blobs, blob_link.arrivals, wakeup),
    )
    if spec.sandbox != LEVEL:
        agent._core.stealing._hello = msgspec.structs.replace(hello, sandbox=LEVEL)
    agent.serve()
    report = WorkerReport(dict(agent._core.counters), record.traffic, record.steals, time.monotonic() - began_s)
    (directory / f"{spec.name}.json").write_bytes(msgspec.json.encode(report))


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os._exit(main(*sys.argv[1:]))

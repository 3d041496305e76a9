"""A real worker process whose executor succeeds at once: everything but the sandbox and the blobs is real.

Usage: python -m tests.bench.stub_worker BROKER CACHE_DIR SLOTS
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable

from zbuild.log import Level, Log, LogFormat
from zbuild.model.action import ActionId, ActionResult, ResultStatus
from zbuild.sandbox.spawner import start_spawner


class StubAttempt:
    """Succeeds without running anything."""

    def prepare(self) -> None:
        """Nothing is staged."""

    def run(self, started: Callable[[int], None]) -> None:
        """Nothing is run."""
        del started

    def collect(self) -> ActionResult:
        """Nothing was made."""
        return ActionResult(status=ResultStatus.SUCCESS)

    def discard(self) -> None:
        """Nothing is to be undone."""


class StubExecutor:
    """Begins attempts that succeed at once."""

    def begin(self, action_id: ActionId, body: bytes, peer_blobs: str = "") -> StubAttempt:
        del action_id, body, peer_blobs
        return StubAttempt()


def main(broker: str, cache_dir: str, slots: int) -> None:
    """Serve until SIGTERM."""
    spawner = start_spawner()
    from zbuild.inputs.toolchain import Toolchain
    from zbuild.protocol.messages import PROTOCOL_VERSION, Hello, Role
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

    hello = Hello(
        protocol_version=PROTOCOL_VERSION,
        role=Role.WORKER,
        name="stub",
        incarnation=secrets.randbits(63),
        worker_id=secrets.randbits(63),
        slots=slots,
        queue_limit=slots + 256,
        sandbox="hermetic",
    )
    wakeup = Wakeup()
    blobs = BlobDirectory(cache_dir, is_durable=False)
    blob_link = BlobLink(blobs, wakeup)
    Agent(
        hello,
        broker,
        StubExecutor(),
        blob_link,
        Processes(spawner),
        Platform(Toolchain(None), wakeup, {}),
        MachineLoad(cache_dir),
        IdleEviction(Evictor(blobs, 1 << 40, lambda _digest: False)),
        wakeup,
        StealSettings(is_enabled=False),
        (),
        None,
        Log(sys.stderr.buffer, time.time, LogFormat.LOGFMT, Level.WARNING),
        PeerBlobs(blobs, blob_link.arrivals, wakeup),
    ).serve()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

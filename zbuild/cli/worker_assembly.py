"""Puts a worker together from its parts. Importing this imports gevent and zmq."""

from __future__ import annotations

import os
import signal
import socket

import gevent
import gevent.queue
import msgspec

from zbuild.cli.farm_files import BLOBS
from zbuild.cli.peer_address import PeerEndpoints
from zbuild.config import WorkerConfig
from zbuild.errors import BadInput
from zbuild.inputs.toolchain import Toolchain
from zbuild.limits import MEMORY_SHARE, STAGES_PER_SLOT
from zbuild.log import Log
from zbuild.model.action import worker_property
from zbuild.model.capabilities import Capabilities, capabilities_of
from zbuild.protocol.messages import PROTOCOL_VERSION, Hello, Role
from zbuild.random_number import random_number
from zbuild.readiness import Readiness
from zbuild.sandbox.bubblewrap import probe
from zbuild.sandbox.control_group import establish, look
from zbuild.sandbox.launch import find_confinement
from zbuild.sandbox.spawn_protocol import Confine
from zbuild.sandbox.spawner import Spawner
from zbuild.sandbox.spec import RESERVED_PATHS, SHARED_PATHS, SandboxLevel, StandingLimits
from zbuild.sandbox.system import SystemTree
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.eviction import Evictor
from zbuild.storage.idle_eviction import IdleEviction
from zbuild.storage.staging import Stage
from zbuild.transport.green import Wakeup, fail_fast
from zbuild.worker.agent import Agent
from zbuild.worker.blob_link import BlobLink
from zbuild.worker.execution import Slot, Workshop
from zbuild.worker.machine_load import MachineLoad
from zbuild.worker.peer_blobs import PeerBlobs
from zbuild.worker.platform import Platform
from zbuild.worker.processes import Processes
from zbuild.worker.shared_blobs import SharedBlobs
from zbuild.worker.steal_settings import StealSettings
from zbuild.worker.steal_strategy import StealStrategy
from zbuild.worker.surroundings import WorkerSurroundings


def assemble(
    config: WorkerConfig,
    broker: str,
    directory: str,
    blob_directory: str | None,
    spawner: Spawner,
    worker_id: int,
    listen: PeerEndpoints,
    lifeline: int | None,
    log: Log,
) -> Agent:
    """A worker that is ready to serve.

    Args:
        directory: where the worker keeps its stages, its fingerprints and, as a rule, its blobs.
        blob_directory: the store's own blobs, when the worker may work in them.
        listen: where peers are to reach it.

    Raises:
        SandboxUnavailable: the sandbox level of ``config`` is not to be had on this machine.
        StoreFailed: ``directory`` cannot be used.
    """
    fail_fast()
    level = SandboxLevel(config.sandbox)
    name = config.name or socket.gethostname()
    slots = config.parallelism or len(os.sched_getaffinity(0))
    blobs = BlobDirectory(blob_directory or os.path.join(directory, BLOBS), is_durable=False, pause=gevent.sleep)
    system = SystemTree(os.path.join(directory, "system"))
    _check_level(level, system, directory)
    own = {os.getpid(), spawner.pid}
    choice = establish(look(own), own)
    spawner.send(Confine(mechanism=choice.mechanism, directories=choice.directories))
    log.info("limits", mechanism=choice.mechanism.value, reasons="; ".join(choice.reasons))
    toolchain = Toolchain(os.path.join(directory, "toolchain"))
    ceiling = ceiling_of(config)
    wakeup = Wakeup()
    fixed = {key: toolchain.evaluate_property(key) or "" for key in ("arch", "os")}
    fixed.update([worker_property(worker_id)])
    platform = Platform(toolchain, wakeup, fixed)
    processes = Processes(spawner)
    blob_link = BlobLink(blobs, wakeup)
    peer_blobs = PeerBlobs(blobs, blob_link.arrivals, wakeup)
    surroundings = (
        WorkerSurroundings(SharedBlobs(blobs), processes, platform)
        if blob_directory
        else WorkerSurroundings(blob_link, processes, platform, peer_blobs)
    )
    executor = Workshop(
        name,
        level,
        system,
        blobs,
        _slots(directory, STAGES_PER_SLOT * slots, blobs, level),
        surroundings,
        processes.next_id,
        ceiling,
        _standing_limits(config),
    )
    hello = Hello(
        protocol_version=PROTOCOL_VERSION,
        role=Role.WORKER,
        name=name,
        incarnation=random_number(),
        worker_id=worker_id,
        slots=slots,
        queue_limit=slots + config.local_queue_size,
        sandbox=level.value,
        platform=tuple(sorted(fixed.items())),
        ceiling=ceiling,
        limits=choice.mechanism.value,
    )
    agent = Agent(
        hello,
        broker,
        executor,
        blob_link,
        processes,
        platform,
        MachineLoad(directory),
        None if blob_directory else IdleEviction(Evictor(blobs, config.cache_bytes, lambda _digest: False)),
        wakeup,
        steal_settings_of(config),
        listen.steals,
        lifeline,
        log,
        peer_blobs,
        listen.blobs,
    )

    def drain() -> None:
        agent.request_drain()
        Readiness.from_environment(os.environ).stopping()

    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, drain)
    return agent


def ceiling_of(config: WorkerConfig) -> Capabilities:
    """What a worker of these settings grants.

    Raises:
        BadInput: a path is not absolute.
    """
    names = (field.name for field in msgspec.structs.fields(Capabilities))
    return capabilities_of({name: getattr(config, name) for name in names})


def steal_settings_of(config: WorkerConfig) -> StealSettings:
    """How a worker of these settings steals."""
    return StealSettings(
        is_enabled=config.enable_work_stealing,
        strategy=StealStrategy(config.strategy),
        timeout_s=config.steal_timeout_s,
        retry_backoff_s=config.retry_backoff_s,
        max_retries=config.max_retries,
        min_local_queue=config.min_local_queue,
        threshold=config.steal_threshold,
    )


def _check_level(level: SandboxLevel, system: SystemTree, directory: str) -> None:
    """See that actions can be run at that level.

    Raises:
        SandboxUnavailable: they cannot; the message says how to mend it.
    """
    match level:
        case SandboxLevel.HERMETIC:
            probe(system.paths(), directory)
        case SandboxLevel.PROCESS:
            find_confinement()
        case SandboxLevel.NONE:
            pass


def _standing_limits(config: WorkerConfig) -> StandingLimits:
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return StandingLimits(
        processes=config.max_processes,
        disk_bytes=config.max_disk_bytes,
        memory_bytes=int(memory_bytes * MEMORY_SHARE),
    )


def _slots(directory: str, count: int, blobs: BlobDirectory, level: SandboxLevel) -> gevent.queue.LifoQueue[Slot]:
    """The last one used comes first: it is the likeliest to have the next action's headers staged already."""
    slots: gevent.queue.LifoQueue[Slot] = gevent.queue.LifoQueue()
    for number in range(count):
        slots.put(_slot(directory, number, blobs, level))
    return slots


def _slot(directory: str, number: int, blobs: BlobDirectory, level: SandboxLevel) -> Slot:
    base = os.path.join(directory, "stage", str(number))
    stage = Stage(
        base,
        blobs,
        reserved_paths=RESERVED_PATHS,
        shared_paths=SHARED_PATHS,
        is_isolated=level is SandboxLevel.HERMETIC,
    )
    return Slot(stage, f"{base}.stdout", f"{base}.stderr")


def worker_id_in(directory: str) -> int:
    """The id in the file ``worker-id``, drawn and written there the first time.

    Raises:
        BadInput: the file does not hold one.
    """
    path = os.path.join(directory, "worker-id")
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read(32), 16)
    except FileNotFoundError:
        worker_id = random_number() or 1
    except ValueError as error:
        raise BadInput(f"{path} does not hold a worker id: {error}; remove the file to draw a new one") from error
    with open(path, "x", encoding="ascii") as file:
        file.write(f"{worker_id:x}\n")
    return worker_id

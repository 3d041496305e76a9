"""``zbuild-broker``: the coordinator of a farm."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
import time
from typing import TYPE_CHECKING

from zbuild.cli import instruments
from zbuild.cli.daemon_flags import daemon_log, daemon_parser
from zbuild.cli.farm_files import BLOBS, CONTROL_SOCKET, STEAL_SOCKET
from zbuild.cli.stop_signals import StopSignals
from zbuild.cli.store_process import StoreProcess
from zbuild.config import BrokerConfig
from zbuild.errors import BadInput, ExitCode, StoreFailed, ZbuildError
from zbuild.limits import GARBAGE_OBJECTS
from zbuild.log import Log
from zbuild.random_number import random_number
from zbuild.readiness import Readiness

if TYPE_CHECKING:
    from zbuild.transport.beacon import BeaconResponder

_HEARTBEAT_SOCKET = "heartbeats"
_ANNOUNCEMENT_SOCKET = "announcements"


def main(arguments: list[str] | None = None) -> int:
    """Run a broker until SIGTERM or SIGINT."""
    parser = daemon_parser("zbuild-broker", "The coordinator of a zbuild farm, with its artifact store.")
    parser.add_argument("--host", help="address to listen at (default: 127.0.0.1; 0.0.0.0 for all)")
    parser.add_argument("--port", type=int, help="control port (default: 9000)")
    parser.add_argument("--heartbeat-port", type=int, help="heartbeat port (default: 9001)")
    parser.add_argument("--announcement-port", type=int, help="announcement port (default: 9002)")
    parser.add_argument("--blob-port", type=int, help="blob port (default: 9003)")
    parser.add_argument("--max-workers", type=int, metavar="N", help="workers that may register (default: 1000)")
    parser.add_argument("--reassign-strategy", metavar="NAME", help="which worker gets an action (default: priority)")
    parser.add_argument("--prefetch-s", type=float, metavar="S", help="work that waits at each slot (default: 0.1)")
    parser.add_argument("--no-beacon", dest="beacon", action="store_false", default=None, help="answer no discovery")
    parser.add_argument("--socket-dir", metavar="DIR", help="listen on Unix sockets in DIR and on no network")
    flags = parser.parse_args(arguments)
    keys = [
        "host",
        "port",
        "heartbeat_port",
        "announcement_port",
        "blob_port",
        "max_workers",
        "beacon",
        "reassign_strategy",
    ]
    keys += ["prefetch_s", "cache_dir", "cache_bytes"]
    try:
        config = BrokerConfig.load(flags.config, {key: getattr(flags, key) for key in keys})
        serve(config, flags.socket_dir, flags.lifeline, daemon_log(flags))
    except ZbuildError as error:
        print(f"zbuild-broker: {error}", file=sys.stderr)
        return int(error.exit_code)
    return int(ExitCode.OK)


def serve(config: BrokerConfig, socket_dir: str | None, lifeline: int | None, log: Log) -> None:
    """Start the store, listen, announce readiness, and work until stopped.

    Raises:
        ZbuildError: a port is taken, or the cache directory cannot be used.
    """
    directory = config.directory(os.environ)
    _make_directory(directory)
    with contextlib.ExitStack() as stack:
        if socket_dir is not None and lifeline is not None:
            # Whoever made it for this broker may have been killed. libzmq leaves the sockets.
            stack.callback(_remove_sockets, socket_dir)
        signals = StopSignals()
        stack.callback(signals.close)
        store = StoreProcess(_endpoint(config.host, config.blob_port, socket_dir, BLOBS), directory, config.cache_bytes)
        stack.callback(store.close)
        _serve_control(config, socket_dir, directory, store, signals.descriptor, lifeline, log)


def _serve_control(
    config: BrokerConfig,
    socket_dir: str | None,
    directory: str,
    store: StoreProcess,
    stop_descriptor: int,
    lifeline: int | None,
    log: Log,
) -> None:
    instruments.install("broker", os.environ)
    from zbuild.coordinator.broker import Broker
    from zbuild.coordinator.core import BrokerCore
    from zbuild.coordinator.journal_keeper import JournalKeeper
    from zbuild.coordinator.published_results import PublishedResults
    from zbuild.coordinator.reassign import ReassignStrategy
    from zbuild.protocol.messages import PROTOCOL_VERSION, Welcome
    from zbuild.storage.action_cache import ActionCache
    from zbuild.storage.blob_directory import BlobDirectory
    from zbuild.storage.journal_file import JournalFile
    from zbuild.transport.loop import new_context
    from zbuild.transport.router import Router
    from zbuild.transport.sockets import (
        announcement_publisher,
        bound_endpoint,
        control_router,
        heartbeat_subscriber,
    )

    context = new_context()
    router = Router(control_router(context, _endpoint(config.host, config.port, socket_dir, CONTROL_SOCKET)))
    heartbeats = heartbeat_subscriber(
        context, _endpoint(config.host, config.heartbeat_port, socket_dir, _HEARTBEAT_SOCKET)
    )
    announcements = announcement_publisher(
        context, _endpoint(config.host, config.announcement_port, socket_dir, _ANNOUNCEMENT_SOCKET)
    )
    cache = ActionCache(os.path.join(directory, "results.sqlite"))
    if cache.was_corrupt:
        log.error("action_cache_corrupt", moved_to=os.path.join(directory, "results.sqlite.corrupt"))
    results = PublishedResults(cache, BlobDirectory(os.path.join(directory, BLOBS), is_durable=False))
    welcome = Welcome(
        protocol_version=PROTOCOL_VERSION,
        epoch=random_number(),
        blob_endpoint=_advertised(store.endpoint),
        heartbeat_endpoint=_advertised(bound_endpoint(heartbeats)),
        heartbeat_interval_s=config.heartbeat_interval_s,
        announcement_endpoint=_advertised(bound_endpoint(announcements)),
    )
    journal = JournalKeeper(JournalFile(os.path.join(directory, "journal")), log)
    core = BrokerCore(
        welcome,
        results,
        journal.restore(),
        worker_timeout_s=config.worker_timeout_s,
        max_workers=config.max_workers,
        now_s=time.monotonic(),
        strategy=ReassignStrategy(config.reassign_strategy),
        prefetch_s=config.prefetch_s,
    )
    control = bound_endpoint(router.socket)
    beacon = _beacon(config, control, welcome.epoch)
    log.info("listening", control=control, blobs=store.endpoint, cache_dir=directory, beacon=beacon is not None)
    Readiness.from_environment(os.environ).ready()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)
    Broker(
        core,
        results,
        journal,
        router,
        heartbeats,
        announcements,
        stop_descriptor,
        lifeline,
        store.lifeline,
        beacon,
        log,
    ).run()
    Readiness.from_environment(os.environ).stopping()
    context.term()


def _beacon(config: BrokerConfig, control: str, epoch: int) -> BeaconResponder | None:
    """A broker on Unix sockets, or one that was told not to, is not to be found."""
    if not config.beacon or not control.startswith("tcp://"):
        return None
    from zbuild.protocol.messages import PROTOCOL_VERSION
    from zbuild.transport.beacon import BeaconResponder

    port = int(control.rpartition(":")[2])
    return BeaconResponder(_address(config.host), config.beacon_port, PROTOCOL_VERSION, port, epoch)


def _address(host: str) -> str:
    """ZeroMQ binds to addresses, not to names."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise BadInput(f"cannot listen at {host!r}: {error.strerror}") from error


def _endpoint(host: str, port: int, socket_dir: str | None, name: str) -> str:
    if socket_dir is not None:
        return f"ipc://{os.path.join(socket_dir, name)}"
    address = _address(host)
    bracketed = f"[{address}]" if ":" in address else address
    return f"tcp://{bracketed}:{port or '*'}"


def _advertised(endpoint: str) -> str:
    """The peers know the broker by another address than it binds: they keep their host and take the port."""
    if not endpoint.startswith("tcp://"):
        return endpoint
    return f"tcp://*:{endpoint.rpartition(':')[2]}"


def _remove_sockets(directory: str) -> None:
    names = {CONTROL_SOCKET, _HEARTBEAT_SOCKET, _ANNOUNCEMENT_SOCKET, BLOBS}
    with contextlib.suppress(OSError):
        names.update(name for name in os.listdir(directory) if name.startswith(STEAL_SOCKET))
    for name in names:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(directory, name))
    with contextlib.suppress(OSError):
        os.rmdir(directory)


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path, 0o700, exist_ok=True)
    except OSError as error:
        raise StoreFailed(f"cannot make the cache directory {path}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())

"""``zbuild-worker``: runs actions for a farm."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator

from zbuild.cli import instruments
from zbuild.cli.capability_flags import add_capability_flags, given_capabilities
from zbuild.cli.daemon_flags import daemon_log, daemon_parser
from zbuild.cli.farm_files import WORKER_LOCK
from zbuild.cli.peer_address import peer_endpoints
from zbuild.config import WorkerConfig, normalise_endpoint
from zbuild.errors import ExitCode, LockHeld, StoreFailed, ZbuildError
from zbuild.log import Log
from zbuild.readiness import Readiness


def main(arguments: list[str] | None = None) -> int:
    """Run a worker until SIGTERM or SIGINT, which let it finish what it runs."""
    parser = daemon_parser("zbuild-worker", "Runs actions for a zbuild farm, each in a sandbox.")
    parser.add_argument("--coordinator", metavar="URL", help="the broker, http://HOST:9000 or tcp://HOST:9000")
    parser.add_argument("--parallelism", type=int, metavar="N", help="actions at once (default: one per processor)")
    parser.add_argument("--sandbox", metavar="LEVEL", help="hermetic, process or none")
    parser.add_argument("--name", help="how the worker is called in zbuild status (default: the host's name)")
    parser.add_argument("--lock", type=int, metavar="FD", help="inherited descriptor that locks the cache directory")
    parser.add_argument("--blob-directory", metavar="DIR", help="work in the directory of a store on this machine")
    parser.add_argument(
        "--no-work-stealing", dest="enable_work_stealing", action="store_false", default=None, help="keep to itself"
    )
    parser.add_argument("--strategy", metavar="NAME", help="whom to steal from (default: power-of-two)")
    parser.add_argument("--listen-host", metavar="ADDRESS", help="where other workers reach this one")
    parser.add_argument("--listen-port", type=int, metavar="PORT", help="the port for them (default: 9100)")
    parser.add_argument("--listen-blob-port", type=int, metavar="PORT", help="where they fetch inputs (default: 9101)")
    add_capability_flags(parser, "ceiling: what an action gets at most")
    flags = parser.parse_args(arguments)
    keys = ["coordinator", "parallelism", "sandbox", "name", "cache_dir", "cache_bytes"]
    keys += ["enable_work_stealing", "strategy", "listen_host", "listen_port", "listen_blob_port"]
    try:
        overrides = {key: getattr(flags, key) for key in keys} | given_capabilities(flags)
        config = WorkerConfig.load(flags.config, overrides)
        serve(config, flags.blob_directory, flags.lock, flags.lifeline, daemon_log(flags))
    except ZbuildError as error:
        print(f"zbuild-worker: {error}", file=sys.stderr)
        return int(error.exit_code)
    return int(ExitCode.OK)


def serve(config: WorkerConfig, blob_directory: str | None, lock: int | None, lifeline: int | None, log: Log) -> None:
    """Start the spawner, try the sandbox, then work for the broker until stopped.

    Raises:
        ZbuildError: the sandbox is not to be had here, or the broker refuses this worker.
    """
    import prctl

    from zbuild.sandbox.spawner import start_spawner

    broker = normalise_endpoint(config.coordinator)
    directory = config.directory(os.environ)
    os.umask(0o022)
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
    except OSError as error:
        raise StoreFailed(f"cannot make the cache directory {directory}: {error.strerror}") from error
    with claimed(directory, lock):
        # The spawner must fork before gevent and zmq are used: neither survives a fork.
        prctl.set_child_subreaper(1)
        spawner = start_spawner()
        instruments.install("worker", os.environ)
        from zbuild.cli.worker_assembly import assemble, worker_id_in

        worker_id = worker_id_in(directory)
        with peer_endpoints(config, broker) as listen:
            agent = assemble(config, broker, directory, blob_directory, spawner, worker_id, listen, lifeline, log)
            Readiness.from_environment(os.environ).ready()
            agent.serve()


@contextlib.contextmanager
def claimed(directory: str, lock: int | None) -> Iterator[None]:
    """Hold a directory for one worker: two would stage into each other's trees.

    ``lock``: a descriptor that holds it already.

    Raises:
        LockHeld: another worker has it.
    """
    if lock is not None:
        os.set_inheritable(lock, False)
        yield
        return
    descriptor = os.open(os.path.join(directory, WORKER_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeld(f"another worker uses {directory}; give each its own --cache-dir") from None
        yield
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())

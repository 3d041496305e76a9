"""The real processes of a run: a broker with its store, workers, and what restarts them."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from chaos.history import History, wait_until
from chaos.links import Links
from tests.integration.farm import Daemon
from tests.integration.tree import client_environment
from tests.live_processes import processes_below
from zbuild.client.status_query import query_status
from zbuild.errors import FarmUnreachable
from zbuild.protocol.status_messages import Status
from zbuild.testing import failpoints, recorder

READY_S = 90.0
"""For a daemon to come up on a machine that runs several farms at once."""

STATUS_S = 5.0


class ChaosFarm:
    """One broker and its workers, each of which may be killed and started again under its name.

    Args:
        host: where the broker listens, at zbuild's own ports.
        settings: of broker.toml.
        links: the fault proxy that peers come through, if they do.
        broker_prefix: a command that starts the broker given as its arguments.
    """

    def __init__(
        self,
        directory: Path,
        host: str,
        history: History,
        settings: dict[str, float],
        links: Links | None = None,
        broker_prefix: tuple[str, ...] = (),
    ) -> None:
        self.directory = directory
        self.host = host
        self.history = history
        self.links = links
        self.workers: dict[str, Daemon] = {}
        self.broker: Daemon | None = None
        self.broker_directory = directory / "broker"
        self.broker_environment: dict[str, str] = {}
        self.worker_environment: dict[str, str] = {}
        self._prefix = broker_prefix
        self._lives = 0
        self._config = directory / "broker.toml"
        lines = [f"{name} = {value}" for name, value in settings.items()]
        self._config.write_text("\n".join([*lines, "beacon = false", ""]))

    def start_broker(self, failpoint: str = "") -> Daemon:
        """Start it and wait until it listens. One that is armed may be gone by then."""
        self._lives += 1
        log = self.directory / f"broker-{self._lives}.log"
        environment = self._environment(failpoint) | self.broker_environment
        flags = ["--host", self.host, "--cache-dir", str(self.broker_directory), "--config", str(self._config)]
        self.broker = Daemon("zbuild.cli.broker", flags, log, environment, self._prefix)
        broker = self.broker
        wait_until(lambda: "event=listening" in broker.log or broker.process.poll() is not None, "a broker", READY_S)
        if broker.process.poll() is not None and not failpoint:
            raise FarmUnreachable(f"the broker ended with {broker.process.returncode}: {broker.log[-2000:]}")
        self.history.write("broker_started", pid=broker.process.pid)
        return broker

    def start_worker(
        self, name: str, slots: int = 2, *, failpoint: str = "", cache: Path | None = None, prefix: tuple[str, ...] = ()
    ) -> Daemon:
        """Start a worker, through its link if there are links; it may not have joined yet."""
        host = self.links.host_of(name) if self.links is not None else self.host
        flags = ["--coordinator", f"tcp://{host}:9000", "--parallelism", str(slots), "--name", name]
        flags += ["--cache-dir", str(cache or self.directory / name)]
        environment = self._environment(failpoint) | self.worker_environment
        worker = Daemon("zbuild.cli.worker", flags, self.directory / f"{name}.log", environment, prefix)
        self.workers[name] = worker
        self.history.write("worker_started", name=name, pid=worker.process.pid)
        return worker

    def await_workers(self, count: int | None = None) -> None:
        """Wait until the broker lists so many, or all."""
        wanted = len(self.workers) if count is None else count
        wait_until(lambda: len(self.listed_workers()) >= wanted, f"{wanted} workers to join", READY_S)

    def listed_workers(self) -> list[str]:
        """Names of the workers that the broker counts as connected."""
        status = self.status()
        return [] if status is None else [worker.name for worker in status.workers]

    def status(self) -> Status | None:
        """The broker's snapshot; None when it does not answer."""
        with contextlib.suppress(FarmUnreachable):
            return query_status(f"tcp://{self.host}:9000", STATUS_S)
        return None

    def counter(self, name: str) -> int:
        """One of the broker's counters in its present life."""
        status = self.status()
        return dict(status.counters).get(name, 0) if status is not None else 0

    def store_pid(self) -> int:
        """The store process of the present broker: its only child, forked, so that its command line tells nothing."""
        assert self.broker is not None
        pid = self.broker.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        (store,) = children
        return int(store)

    def signal_worker(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a worker's main process."""
        self.history.write("signal", to=name, signal=number.name)
        self.workers[name].process.send_signal(number)

    def kill_worker(self, name: str) -> None:
        self.signal_worker(name, signal.SIGKILL)
        self.workers[name].process.wait()

    def restart_worker(self, name: str, slots: int = 2) -> None:
        """End it, whatever state it is in, and start it again in the same directory."""
        self.workers[name].process.kill()
        self.workers[name].process.wait()
        self.await_free(name)
        self.start_worker(name, slots)

    def kill_broker(self) -> float:
        """kill -9; the instant."""
        assert self.broker is not None
        at_s = self.history.write("signal", to="broker", signal="SIGKILL")
        self.broker.kill()
        return at_s

    def await_free(self, name: str) -> None:
        """Wait until the directory of a worker that has died is free: its spawner has inherited the lock."""
        _await_free(self.directory / name / "lock")

    def close(self) -> None:
        """End everything, frozen processes too."""
        daemons = [*self.workers.values(), *([self.broker] if self.broker is not None else [])]
        for daemon in daemons:
            for pid in (daemon.process.pid, *processes_below(daemon.process.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        for daemon in daemons:
            if daemon.process.poll() is None:
                daemon.process.terminate()
        for daemon in daemons:
            daemon.close()

    def _environment(self, failpoint: str) -> dict[str, str]:
        environment = client_environment() | {recorder.VARIABLE: str(self.history.path)}
        return environment | ({failpoints.VARIABLE: failpoint} if failpoint else {})


def _await_free(lock: Path) -> None:
    """A worker's directory is free when the last process that has inherited its lock has ended."""
    import fcntl

    def is_free() -> bool:
        with open(lock, "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    wait_until(is_free, f"{lock} to be free", 10)

"""A farm of real processes: a broker and workers on loopback or on Unix sockets, gone with the test."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.integration.tree import client_environment, run_zbuild
from tests.polling import wait_until

STOP_S = 20.0


class Daemon:
    """One process of a farm, with its log in a file."""

    def __init__(
        self, module: str, arguments: list[str], log: Path, environment: dict[str, str], prefix: tuple[str, ...] = ()
    ) -> None:
        self.log_path = log
        with open(log, "ab") as stream:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", module, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                process_group=0,
            )

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait for a line of the log.

        Raises:
            AssertionError: the process has ended, or time is up.
        """

        def has_come() -> bool:
            found = re.search(pattern, self.log) is not None
            assert found or self.process.poll() is None, f"ended with {self.process.returncode}: {self.log}"
            return found

        wait_until(has_come, f"{pattern!r} in {self.log_path}")
        match = re.search(pattern, self.log)
        assert match is not None
        return match

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def kill(self) -> None:
        """SIGKILL to the process alone, as the kernel's OOM killer does it."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it in whatever state it is."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


class Farm:
    """A broker and its workers.

    Attributes:
        endpoint: the control endpoint, as --coordinator takes it.
        workers: by name.
    """

    def __init__(self, directory: Path, *broker_flags: str, is_tcp: bool = False) -> None:
        self.directory = directory
        self.workers: dict[str, Daemon] = {}
        directory.mkdir(parents=True, exist_ok=True)
        flags = ["--cache-dir", str(directory / "broker"), *broker_flags]
        if is_tcp:
            flags += ["--port", "0", "--heartbeat-port", "0", "--announcement-port", "0", "--blob-port", "0"]
            flags += [] if any("--config" in flag for flag in broker_flags) else ["--no-beacon"]
        else:
            flags += ["--socket-dir", str(directory)]
        self._flags = flags
        self._lives = 0
        self.broker, self.endpoint = self._start_broker()

    def restart_broker(self) -> None:
        """End the broker and start one with the same flags."""
        self.broker.close()
        self.broker, self.endpoint = self._start_broker()

    def _start_broker(self) -> tuple[Daemon, str]:
        self._lives += 1
        log = self.directory / f"broker-{self._lives}.log"
        broker = Daemon("zbuild.cli.broker", self._flags, log, client_environment())
        try:
            control = broker.wait_for(r"event=listening control=(\S+)")[1]
        except BaseException:
            broker.close()
            raise
        return broker, control.replace("tcp://", "http://")

    def start_worker(self, name: str, slots: int = 2, *flags: str, prefix: tuple[str, ...] = ()) -> Daemon:
        """Start a worker; it may not have joined yet. ``prefix``: a command that starts the one in its arguments."""
        arguments = ["--coordinator", self.endpoint, "--parallelism", str(slots), "--name", name]
        arguments += ["--cache-dir", str(self.directory / name), *flags]
        log = self.directory / f"{name}.log"
        worker = Daemon("zbuild.cli.worker", arguments, log, client_environment(), prefix)
        self.workers[name] = worker
        return worker

    def add_worker(self, name: str, slots: int = 2, *flags: str) -> Daemon:
        """Start a worker and wait until the broker lists it."""
        worker = self.start_worker(name, slots, *flags)
        worker.wait_for("event=welcome")
        return worker

    def status(self) -> dict[str, Any]:
        """``zbuild status --json``."""
        run = run_zbuild("status", "--json", "--coordinator", self.endpoint, cwd=self.directory)
        assert run.exit_code == 0, run.stderr
        return run.summary

    def running_on(self, name: str) -> int:
        """How many actions the worker of that name has reported to run, or holds."""
        return next((each["held"] for each in self.status()["workers"] if each["name"] == name), 0)

    def close(self) -> None:
        """End everything."""
        for worker in self.workers.values():
            worker.close()
        self.broker.close()


@contextlib.contextmanager
def running_farm(directory: Path, *broker_flags: str, is_tcp: bool = False, workers: int = 2) -> Iterator[Farm]:
    """A farm whose workers are called worker-1, worker-2, ...; gone at the end, whatever happens."""
    farm = Farm(directory, *broker_flags, is_tcp=is_tcp)
    try:
        for number in range(1, workers + 1):
            farm.start_worker(f"worker-{number}")
        for worker in farm.workers.values():
            worker.wait_for("event=welcome")
        yield farm
    finally:
        farm.close()


def free_udp_port() -> int:
    """A UDP port of 127.0.0.1 that nobody uses at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

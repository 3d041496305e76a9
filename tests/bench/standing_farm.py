"""A farm that stands: a broker with its store, and workers, each a process as an operator starts it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.workspace import Workspace, module
from zbuild.client.status_query import query_status
from zbuild.errors import FarmUnreachable

START_S = 60.0
POLL_S = 0.02


class StandingFarm:
    """``start`` and ``stop`` may alternate; what the farm has on disk stays, but for ``forget_results``.

    Args:
        worker_commands: the workers' command lines, for other workers than real ones; ``{broker}`` stands for
            the control endpoint.
    """

    def __init__(self, workspace: Workspace, slots: int, worker_commands: Sequence[Sequence[str]] = ()) -> None:
        self._workspace = workspace
        self._path = workspace.path / "farm"
        self._sockets = workspace.path / "s"
        self._sockets.mkdir(exist_ok=True)
        self.endpoint = f"ipc://{self._sockets}/control"
        worker = module("zbuild.cli.worker", "--coordinator", self.endpoint, "--parallelism", slots)
        self._worker_commands = worker_commands or [[*worker, "--cache-dir", str(self._path / "worker")]]
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> StandingFarm:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    @property
    def log_path(self) -> Path:
        return self._workspace.path / "farm.log"

    @property
    def results_path(self) -> Path:
        """The broker's action cache."""
        return self._path / "broker/results.sqlite"

    def start(self) -> None:
        """Start all daemons and wait until every worker has registered.

        Raises:
            FarmUnreachable: they are not there after START_S.
        """
        broker = module("zbuild.cli.broker", "--socket-dir", self._sockets, "--cache-dir", self._path / "broker")
        self._spawn(broker)
        for command in self._worker_commands:
            self._spawn(command)
        deadline_s = time.monotonic() + START_S
        while self._registered_workers() < len(self._worker_commands):
            if time.monotonic() > deadline_s or any(process.poll() is not None for process in self._processes):
                log = self.log_path.read_text(errors="replace")[-2000:]
                self.stop()
                raise FarmUnreachable(f"the farm has not started: {log}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End all daemons: workers first, as an operator would."""
        for process in reversed(self._processes):
            process.terminate()
            process.wait()
        self._processes.clear()

    def forget_results(self) -> None:
        """Begin with an empty cache, but for what is known of the toolchain: a farm that has built other things."""
        was_running = bool(self._processes)
        self.stop()
        self._workspace.set_aside(
            *self._path.glob("broker/results.sqlite*"), *self._path.glob("*/blobs"), *self._path.glob("*/stage")
        )
        if was_running:
            self.start()

    def _registered_workers(self) -> int:
        try:
            return len(query_status(self.endpoint, 1.0).workers)
        except FarmUnreachable:
            return 0

    def _spawn(self, command: Sequence[str]) -> None:
        with self.log_path.open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    command, env=self._workspace.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )

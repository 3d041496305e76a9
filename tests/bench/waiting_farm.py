"""A farm whose workers wait: a real broker with its store, and workers that come when they are told to."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.bench.processor_time import tree
from tests.bench.waiting_workers import WorkerReport, WorkerSpec
from tests.bench.workspace import Workspace, module
from zbuild.client.status_query import query_status
from zbuild.errors import FarmUnreachable
from zbuild.protocol.status_messages import Status

START_S = 60.0
"""What 100 workers need on a machine with other things to do."""

POLL_S = 0.02

PREFETCH_S = 3600.0
"""The most that the broker takes: its workers then hold all that they have room for."""


class WaitingFarm:
    """Its workers are named in ``start_workers``, any number of times.

    Args:
        prefetch_s: seconds of work that the broker lets a worker hold beyond its slots; None: as the product does.

    Attributes:
        started_s: when workers were started last, by CLOCK_MONOTONIC, which is one for all processes of a machine.
    """

    def __init__(self, workspace: Workspace, number: int, prefetch_s: float | None = None) -> None:
        self._workspace = workspace
        self.path = workspace.path / str(number)
        self.path.mkdir()
        self.endpoint = f"ipc://{self.path}/control"
        self._prefetch_s = prefetch_s
        self.started_s = 0.0
        self._specs: list[WorkerSpec] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> WaitingFarm:
        broker = module("zbuild.cli.broker", "--socket-dir", self.path, "--cache-dir", self.path / "broker")
        broker += ["--prefetch-s", str(self._prefetch_s)] if self._prefetch_s is not None else []
        try:
            self._spawn(broker)
            self._spawn(module("tests.bench.waiting_workers", self.endpoint, self.path))
            self.wait_until(lambda _status: True, "the broker")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def broker_pid(self) -> int:
        return self._processes[0].pid

    @property
    def worker_pids(self) -> list[int]:
        """The workers and their spawners."""
        forker = self._processes[1].pid
        return [pid for pid in tree([forker]) if pid != forker]

    def start_workers(self, specs: Sequence[WorkerSpec]) -> None:
        """Have workers forked; they register in their own time."""
        self.started_s = time.monotonic()
        self._specs += specs
        pipe = self._processes[1].stdin
        assert pipe is not None
        pipe.write(b"".join(msgspec.json.encode(spec) + b"\n" for spec in specs))
        pipe.flush()

    def wait_for_workers(self) -> Status:
        """Until all that were started have registered."""
        return self.wait_until(lambda status: len(status.workers) == len(self._specs), "the workers")

    def wait_until(self, condition: Any, what: str) -> Status:
        """Until the broker's status meets ``condition``; that status.

        Raises:
            FarmUnreachable: not within START_S.
        """
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s and all(process.poll() is None for process in self._processes):
            try:
                status = query_status(self.endpoint, 1.0)
            except FarmUnreachable:
                continue
            if condition(status):
                return status
            time.sleep(POLL_S)
        raise FarmUnreachable(f"still waiting for {what}: {self._log_path.read_text(errors='replace')[-2000:]}")

    def client(
        self, seed: int, count: int, waits: tuple[float, float], kind: str, input_count: int = 0
    ) -> subprocess.Popen[str]:
        """A client process that has begun to submit; see waiting_client.py."""
        words = [self.endpoint, f"salt {seed}", seed, count, *waits, kind, input_count]
        return subprocess.Popen(
            module("tests.bench.waiting_client", *words),
            env=self._workspace.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def result(client: subprocess.Popen[str], timeout_s: float) -> dict[str, float]:
        """What a client has printed.

        Raises:
            FarmUnreachable: it has failed, or has not ended in time.
        """
        try:
            printed, _ = client.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            client.kill()
            client.communicate()
            raise FarmUnreachable(f"a build has not ended within {timeout_s:.0f} s") from None
        if client.returncode:
            raise FarmUnreachable(f"a client ended with code {client.returncode}")
        result: dict[str, float] = json.loads(printed)
        return result

    def stop(self) -> dict[str, WorkerReport]:
        """End everything: workers first, at once; their reports by name."""
        for process in reversed(self._processes):
            if process.stdin is not None:
                process.stdin.close()
            else:
                process.terminate()
            process.wait()
        self._processes.clear()
        reports = {}
        for spec in self._specs:
            path = self.path / f"{spec.name}.json"
            if path.exists():
                reports[spec.name] = msgspec.json.decode(path.read_bytes(), type=WorkerReport)
        return reports

    @property
    def _log_path(self) -> Path:
        return self.path / "log"

    def _spawn(self, command: Sequence[str]) -> None:
        is_forker = len(self._processes) == 1
        with self._log_path.open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    command,
                    env=self._workspace.environment(),
                    stdin=subprocess.PIPE if is_forker else subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )

"""Where the start of an embedded farm spends its time: each process on its own, and the whole.

``zbuild build`` starts a broker, the broker a store, the client two workers, each worker a spawner.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.processor_time import measure, used_by
from tests.bench.report import Report, Row, spread
from tests.bench.source_trees import TINY, configured
from tests.bench.standing_farm import StandingFarm
from tests.bench.workspace import Workspace, module

_IMPORTS = {
    "nothing": "pass",
    "client: a build that is up to date": "import zbuild.cli.main, zbuild.cli.build, zbuild.cli.ninja_build",
    "client: a build with a farm": "import zbuild.cli.build, zbuild.cli.ninja_build, zbuild.cli.farm_choice",
    "broker": "import zbuild.cli.broker, zbuild.coordinator.broker, zbuild.storage.action_cache",
    "store": "import zbuild.cli.store_process, zbuild.store.server",
    "worker": "import zbuild.cli.worker, zbuild.cli.worker_assembly",
    "spawner": "import zbuild.sandbox.spawner, zbuild.sandbox.spawn_loop",
}
READY_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5)


def run(arguments: argparse.Namespace, workspace: Workspace) -> Report:
    report = Report("startup")
    parts: dict[str, Callable[[], tuple[float, float]]] = {
        f"imports of {name}": functools.partial(_imports, workspace, code) for name, code in _IMPORTS.items()
    }
    runs: dict[str, list[tuple[float, float]]] = {}
    with _Daemons(workspace) as daemons:
        parts["broker, from exec to ready"] = daemons.start_broker
        parts["worker, from exec to ready"] = daemons.start_worker
        for number in range(arguments.rounds + 1):
            for name, part in parts.items():
                outcome = part()
                # The first round compiles the modules.
                if number:
                    runs.setdefault(name, []).append(outcome)
            daemons.stop()
    report.tables["the parts"] = [_row(name, outcomes) for name, outcomes in runs.items()]
    report.tables["the whole: a build of one C file and its link"] = _builds(workspace, arguments.rounds)
    return report


def _builds(workspace: Workspace, rounds: int) -> list[Row]:
    """Every action is a hit after the first, so what is left is the start and the end of everything."""
    tree = configured(workspace, TINY, 1)
    runs: dict[str, list[tuple[float, float]]] = {}
    build = module("zbuild.cli.main", "build", "-j2")
    with StandingFarm(workspace, 2) as farm:
        standing = [*build, "--coordinator", farm.endpoint, "--cache-dir", str(workspace.path / "client")]
        embedded = [*build, "--cache-dir", str(workspace.path / "embedded")]
        for number in range(rounds + 1):
            for name, command, daemons in (
                ("on a standing farm, all hits", standing, farm.pids),
                ("on an embedded farm, all hits", embedded, []),
                ("ninja", ["ninja", "-j2"], []),
            ):
                tree.reset()
                measured = measure(command, cwd=tree.build, environment=workspace.environment(), daemons=daemons)
                if number:
                    runs.setdefault(name, []).append((measured.wall_s, measured.cpu_s))
    return [_row(name, outcomes) for name, outcomes in runs.items()]


def _row(name: str, outcomes: list[tuple[float, float]]) -> Row:
    walls, cpus = zip(*outcomes, strict=True)
    return {"part": name, **spread(walls), "cpu_s": spread(cpus)["median_s"]}


def _imports(workspace: Workspace, code: str) -> tuple[float, float]:
    measured = measure([sys.executable, "-c", code], cwd=workspace.path, environment=workspace.environment())
    return measured.wall_s, measured.cpu_s


class _Daemons:
    """Starts a broker and then a worker, and hears of their readiness as systemd would."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._address = workspace.path / "notify"
        self._sockets = workspace.path / "d"
        self._sockets.mkdir()
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.bind(str(self._address))
        self._notices.settimeout(READY_S)
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> _Daemons:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()
        self._notices.close()

    def start_broker(self) -> tuple[float, float]:
        cache = self._workspace.path / "daemons/broker"
        return self._start(module("zbuild.cli.broker", "--socket-dir", self._sockets, "--cache-dir", cache))

    def start_worker(self) -> tuple[float, float]:
        cache = self._workspace.path / "daemons/worker"
        endpoint = f"ipc://{self._sockets}/control"
        return self._start(module("zbuild.cli.worker", "--coordinator", endpoint, "--cache-dir", cache))

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait()
        self._processes.clear()
        with self._unblocked() as notices, contextlib.suppress(BlockingIOError):
            while notices.recv(4096):
                pass

    def _start(self, command: list[str]) -> tuple[float, float]:
        environment = self._workspace.environment(NOTIFY_SOCKET=str(self._address))
        began_s = time.perf_counter()
        with Path(self._workspace.path / "daemons.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._processes.append(process)
        while b"READY=1" not in self._notices.recv(4096):
            pass
        return time.perf_counter() - began_s, sum(used_by([process.pid]).values())

    @contextlib.contextmanager
    def _unblocked(self) -> Iterator[socket.socket]:
        self._notices.setblocking(False)
        try:
            yield self._notices
        finally:
            self._notices.settimeout(READY_S)

"""One run: a farm, its builds, the faults of a scenario, and everything that is checked afterwards."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from chaos.farm import ChaosFarm
from chaos.history import History, TimeIsUp, wait_until
from chaos.invariants import check_decisions, check_store, differences, runs_again
from chaos.links import Links
from chaos.workload import Tree, Workload
from tests.integration.tree import client_environment

QUIET_S = 60.0
"""After the last build the farm must be at rest within this: a lost message costs an interval of 5 s."""


class Violated(Exception):
    """An invariant does not hold."""


@dataclass
class Outcome:
    """What a run comes to.

    Attributes:
        faults: how many were inflicted.
        recovery_s: the longest time from a fault, or from the end of one that lasts, to the next result.
        figures: what a scenario wants to show besides.
    """

    violations: list[str] = field(default_factory=list)
    faults: int = 0
    builds: int = 0
    actions: int = 0
    runs_again: int = 0
    retried: int = 0
    local: int = 0
    recovery_s: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)


class Build:
    """A ``zbuild build`` under way, its two outputs in files."""

    def __init__(
        self, arguments: list[str], tree: Tree, environment: dict[str, str], out: Path, began_s: float
    ) -> None:
        self.tree = tree
        self.began_s = began_s
        self._out, self._err = out.with_suffix(".out"), out.with_suffix(".err")
        with open(self._out, "wb") as stdout, open(self._err, "wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "zbuild.cli.main", *arguments],
                cwd=tree.build,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                process_group=0,
            )

    def has_ended(self) -> bool:
        """Whether its process is gone."""
        return self.process.poll() is not None

    @property
    def summary(self) -> dict[str, Any]:
        """What --json has printed."""
        parsed: dict[str, Any] = json.loads(self._out.read_text())
        return parsed

    @property
    def said(self) -> str:
        """The end of its messages, without its progress."""
        lines = [line for line in self._err.read_text(errors="replace").splitlines() if not line.startswith("[")]
        return " | ".join(lines[-6:])[-1200:]


class Arena:
    """What a scenario works with.

    Attributes:
        random: everything that a scenario draws.
        is_full: whether this is a run of the full gate.
    """

    def __init__(self, directory: Path, seed: int, *, is_full: bool) -> None:
        self.directory = directory
        self.seed = seed
        self.random = Random(seed)
        self.is_full = is_full
        self.history = History(directory / "history.jsonl")
        self.outcome = Outcome()
        self._stack = contextlib.ExitStack()
        self._stack.callback(self.history.close)
        self._farm: ChaosFarm | None = None
        self._builds: list[Build] = []
        self._trees = self._begun = 0
        self._host = f"127.{self.random.randrange(16, 250)}.{os.getpid() % 250 + 1}.1"

    @property
    def farm(self) -> ChaosFarm:
        """The farm of ``start``."""
        assert self._farm is not None, "start comes first"
        return self._farm

    @property
    def links(self) -> Links:
        """The fault proxy; the farm was started with ``has_links``."""
        assert self.farm.links is not None
        return self.farm.links

    def start(
        self,
        workers: int = 2,
        slots: int = 2,
        *,
        has_links: bool = False,
        has_messages: bool = False,
        host: str = "",
        broker_prefix: tuple[str, ...] = (),
        broker_directory: Path | None = None,
        broker_environment: dict[str, str] | None = None,
        **settings: float,
    ) -> ChaosFarm:
        """Start a farm whose workers are called worker-1, worker-2, ...; ``settings`` are the broker's."""
        links = None
        if has_links:
            links = Links(self._host, self.seed, self.directory, self.history, has_messages=has_messages)
            self._stack.callback(links.close)
        farm = self._farm = ChaosFarm(self.directory, host or self._host, self.history, settings, links, broker_prefix)
        if broker_directory is not None:
            farm.broker_directory = broker_directory
        farm.broker_environment = broker_environment or {}
        self._stack.callback(farm.close)
        farm.start_broker()
        for number in range(1, workers + 1):
            farm.start_worker(f"worker-{number}", slots)
        farm.await_workers()
        return farm

    def defer(self, step: Callable[[], object]) -> None:
        """Have something done at the end of the run, after the farm has ended if this comes before ``start``."""
        self._stack.callback(step)

    def tree(self, workload: Workload) -> Tree:
        """Lay out a workload, with its reference."""
        self._trees += 1
        directory = self.directory / f"tree-{self._trees}"
        if not workload.expected:
            workload.refer(directory)
        return Tree(workload, directory)

    def begin(self, tree: Tree, *flags: str, client: str = "client") -> Build:
        """Start a build; through the client's link if there are links."""
        farm = self.farm
        host = farm.links.host_of(client) if farm.links is not None else farm.host
        environment = client_environment() | {"XDG_CACHE_HOME": str(self.directory / client)}
        arguments = ["build", "--json", "--coordinator", f"tcp://{host}:9000", *flags]
        began_s = self.history.write("build", client=client, tree=tree.directory.name)
        self._begun += 1
        build = Build(arguments, tree, environment, self.directory / f"build-{self._begun}", began_s)
        self._builds.append(build)
        return build

    def end(self, build: Build, timeout_s: float = 240.0, *, may_be_local: bool = True) -> dict[str, Any]:
        """Wait for a build that must succeed, and compare what it made; its summary.

        Raises:
            Violated: it failed, took too long, or made something else.
        """
        try:
            build.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise Violated(f"a build was stuck: not over after {timeout_s:g} s: {build.said}") from None
        self._builds.remove(build)
        if build.process.returncode != 0:
            raise Violated(f"a build failed with {build.process.returncode}: {build.said}")
        summary = build.summary
        self.history.write("built", **{name: summary[name] for name in ("executed", "cache_hits", "retried", "local")})
        self.outcome.builds += 1
        self.outcome.actions += summary["actions"]
        self.outcome.retried += summary["retried"]
        self.outcome.local += summary["local"]
        if summary["local"] and not may_be_local:
            raise Violated(f"{summary['local']} actions ran outside the farm: {summary['local_reasons']}")
        wrong = list(differences(build.tree.workload.expected, build.tree.made()))
        if wrong:
            raise Violated("; ".join(wrong[:5]))
        return summary

    def build(self, workload: Workload, *flags: str, **options: Any) -> dict[str, Any]:
        """Lay out, build, compare."""
        return self.end(self.begin(self.tree(workload), *flags), **options)

    def kill_build(self, build: Build, number: signal.Signals) -> None:
        """Send a signal to the client of a build, and wait for its end."""
        self.fault(f"{number.name} to a client")
        build.process.send_signal(number)
        build.process.wait(30)
        self._builds.remove(build)

    def fault(self, what: str) -> float:
        """Note that something is broken now; the instant."""
        self.outcome.faults += 1
        return self.history.write("fault", what=what)

    def recovered(self, since_s: float, event: str = "answer", timeout_s: float = 120.0) -> float:
        """Wait for the first result after an instant; the seconds it took. 0 when every build is over already."""

        def is_over() -> bool:
            return all(build.has_ended() for build in self._builds) or self.history.first(event, since_s) is not None

        wait_until(is_over, f"{event!r} after a fault", timeout_s)
        took_s = (self.history.first(event, since_s) or since_s) - since_s
        self.outcome.recovery_s = max(self.outcome.recovery_s, took_s)
        return took_s

    def longest_gap_s(self, since_s: float) -> float:
        """The longest time between two results in a row since an instant."""
        times = [each["t"] for each in self.history.read() if each["event"] == "answer" and each["t"] >= since_s]
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)

    def progress(self, answers: int) -> None:
        """Wait until clients have had so many answers."""
        self.history.wait_for("answer", answers)

    def pause(self, seconds: float) -> None:
        """Let a fault last."""
        time.sleep(seconds)

    def draw_worker(self) -> str:
        """One of the workers."""
        return self.random.choice(sorted(self.farm.workers))

    @contextlib.contextmanager
    def frozen(self, pid: int, what: str) -> Iterator[None]:
        """SIGSTOP to a process; SIGCONT at the end."""
        self.fault(f"SIGSTOP to {what}")
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            self.history.write("thawed", what=what)

    def check(self, *, is_store_whole: bool = True, is_cache_whole: bool = True) -> None:
        """Every invariant, after the last build. Violations are collected.

        Args:
            is_store_whole: False where the scenario itself has spoilt stored files.
            is_cache_whole: False where the scenario has destroyed published results, which are then published again.
        """
        found = self.outcome.violations
        if self._builds:
            found.append(f"{len(self._builds)} builds were not waited for")
        try:
            wait_until(self._is_quiet, "the farm to be at rest", QUIET_S)
        except TimeIsUp:
            found.append(f"the farm is not at rest: {self._at_work()}")
        events = self.history.read()
        found += check_decisions(events, is_cache_whole=is_cache_whole)
        if is_store_whole:
            found += check_store(self.farm.broker_directory)
        self.outcome.runs_again = runs_again(events)

    def close(self) -> None:
        """End every process of the run."""
        for build in self._builds:
            build.process.kill()
            build.process.wait()
        self._stack.close()

    def _is_quiet(self) -> bool:
        return self._at_work() == {"queued": 0, "leased": 0, "held": 0, "clients": 0}

    def _at_work(self) -> dict[str, int] | None:
        status = self.farm.status()
        if status is None:
            return None
        return {
            "queued": status.queued,
            "leased": status.leased,
            "held": sum(worker.held for worker in status.workers),
            "clients": status.clients,
        }

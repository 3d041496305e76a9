"""A farm that cannot run what it is asked for: the client says what it waits for, and may run it here instead."""

from __future__ import annotations

import itertools
import re
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.farm import Farm, free_udp_port, running_farm
from tests.integration.tree import RUN_TIMEOUT_S, Run, Tree, finish, start_module
from tests.polling import wait_until

pytestmark = pytest.mark.needs("bubblewrap", "ninja")

COUNT = 4

NEVER_SILENT_S = 10.0


class WatchedBuild:
    """A build under way, and when each line of its messages came."""

    def __init__(self, tree: Tree, *flags: str) -> None:
        self._process = tree.start("--json", *flags)
        self._began_s = time.monotonic()
        self._lines: list[tuple[float, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.append((time.monotonic(), line))

    @property
    def said(self) -> str:
        """Its messages until now."""
        return "".join(line for _, line in self._lines)

    def longest_silence_s(self) -> float:
        """The longest time without a line, from the start to the last one."""
        times = [self._began_s, *(at_s for at_s, _ in self._lines)]
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)

    def end(self) -> Run:
        """What it came to."""
        assert self._process.stdout is not None
        self._reader.join(RUN_TIMEOUT_S)
        self._process.wait(RUN_TIMEOUT_S)
        return Run(self._process.returncode, self._process.stdout.read(), self.said)

    def interrupt(self) -> Run:
        """Ctrl-C."""
        self._process.terminate()
        return self.end()

    def close(self) -> None:
        self._process.kill()
        self._reader.join(RUN_TIMEOUT_S)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
        self._process.wait()


class Abandoned:
    """Clients of farms that do not answer, all at once: each of them waits for 20 s or more.

    Attributes:
        unreachable: a build for a broker that is not there.
        command: an ``exec`` for the same.
        emptied: a build whose only worker is killed in the middle.
        patient: the same without --local-fallback.
    """

    def __init__(self, directory: Path, farm: Farm) -> None:
        self._taken = socket.socket()
        self._taken.bind(("127.0.0.1", 0))
        nobody = ["--coordinator", f"127.0.0.1:{self._taken.getsockname()[1]}"]
        self.trees = {name: Tree(directory / name) for name in ("unreachable", "command", "emptied", "patient")}
        for name, tree in self.trees.items():
            tree.write({"in": f"{name}\n"})
            seconds = 0 if name == "unreachable" else 2
            edges = (f"build o{n}: sh in\n  cmd = sleep {seconds}; cat in > o{n}\n" for n in range(COUNT))
            tree.manifest("".join(edges))
        command = ["exec", *nobody, "--local-fallback", "--input", "in", "--output", "out/copy"]
        command += ["--", "sh", "-c", "cat in > out/copy; echo done; exit 7"]
        tree = self.trees["command"]
        self.command = start_module("zbuild.cli.main", *command, cwd=tree.root, env=tree.environment)
        self.unreachable = WatchedBuild(self.trees["unreachable"], *nobody, "--local-fallback", "-j2")
        self.emptied = WatchedBuild(self.trees["emptied"], "--coordinator", farm.endpoint, "--local-fallback")
        self.patient = WatchedBuild(self.trees["patient"], "--coordinator", farm.endpoint)
        wait_until(lambda: farm.running_on("worker-1") > 0, "the worker to be at work")
        farm.workers["worker-1"].kill()

    def close(self) -> None:
        self.command.kill()
        self.command.communicate()
        for build in (self.unreachable, self.emptied, self.patient):
            build.close()
        self._taken.close()


@pytest.fixture(scope="module")
def abandoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Abandoned]:
    with tempfile.TemporaryDirectory(prefix="f-") as directory, running_farm(Path(directory), workers=1) as farm:
        made = Abandoned(tmp_path_factory.mktemp("abandoned"), farm)
        try:
            yield made
        finally:
            made.close()


def check_outputs(tree: Tree) -> None:
    assert [tree.text(f"o{n}") for n in range(COUNT)] == [tree.text("in")] * COUNT


def test_without_a_broker_everything_runs_here_and_is_counted_with_the_reason(abandoned: Abandoned) -> None:
    run = abandoned.unreachable.end()

    assert run.exit_code == 0, run.stderr
    check_outputs(abandoned.trees["unreachable"])
    assert run.summary["local_reasons"] == {"no broker answered": COUNT}
    assert (run.summary["local"], run.summary["remote"], run.summary["failed"]) == (COUNT, 0, 0)
    assert re.search(r"waiting for \d+ s: for the broker at tcp://127.0.0.1:\d+", run.stderr), run.stderr
    assert "given up after 20 s" in run.stderr
    assert run.stderr.count("runs here, in no sandbox, from now on: no broker has answered") == 1, run.stderr
    assert f"{COUNT} local ({COUNT} no broker answered)" in run.stderr


def test_a_command_without_a_broker_runs_here_and_says_why(abandoned: Abandoned) -> None:
    run = finish(abandoned.command)

    assert run.exit_code == 7, run.stderr
    assert run.stdout == "done\n"
    assert (abandoned.trees["command"].root / "out/copy").read_text() == "command\n"
    assert "zbuild: waiting for" in run.stderr
    assert "zbuild: warning: runs here, in no sandbox: no broker has answered" in run.stderr


def test_when_all_workers_are_lost_the_rest_runs_here(abandoned: Abandoned) -> None:
    run = abandoned.emptied.end()

    assert run.exit_code == 0, run.stderr
    check_outputs(abandoned.trees["emptied"])
    assert run.summary["local_reasons"] == {"the farm had no workers": run.summary["local"]}
    assert run.summary["local"] > 0
    assert run.summary["local"] + run.summary["remote"] == COUNT
    assert re.search(r"waiting for \d+ s: \d+ actions with the farm, which has had no workers for \d+ s", run.stderr)


def test_without_local_fallback_a_build_waits_for_workers_and_says_for_how_long(abandoned: Abandoned) -> None:
    build = abandoned.patient
    wait_until(lambda: "has had no workers for 2" in build.said, "a wait of 20 s to be told", 40)
    run = build.interrupt()

    assert run.exit_code == 130
    assert run.summary["local"] == 0


def test_no_build_is_ever_silent_for_long(abandoned: Abandoned) -> None:
    """After the others, so that all of them have ended."""
    for build in (abandoned.unreachable, abandoned.emptied, abandoned.patient):
        assert build.longest_silence_s() < NEVER_SILENT_S, build.said


def test_what_no_worker_can_run_runs_here(shared_farm: Farm, tmp_path: Path, token: str) -> None:
    """setarch makes this client's machine another one; the workers keep theirs."""
    tree = Tree(tmp_path / "tree")
    tree.manifest(f"build a: sh\n  cmd = echo {token} > a\n")
    zbuild = [sys.executable, "-m", "zbuild.cli.main", "build", "--json", "--coordinator", shared_farm.endpoint]

    run = tree.run(["setarch", "i686", *zbuild, "--local-fallback"])

    assert run.exit_code == 0, run.stderr
    assert tree.text("a") == f"{token}\n"
    assert run.summary["local_reasons"] == {"no worker could run it": 1}
    assert "arch" in run.stderr, "what the workers lack is named"


def test_a_command_that_fails_on_the_farm_is_not_run_here(shared_farm: Farm, tmp_path: Path) -> None:
    tree = Tree(tmp_path / "tree")
    command = ["exec", "--coordinator", shared_farm.endpoint, "--local-fallback", "--", "sh", "-c", "exit 3"]

    run = finish(start_module("zbuild.cli.main", *command, cwd=tree.root, env=tree.environment))

    assert run.exit_code == 3
    assert "runs here" not in run.stderr


def test_where_no_broker_is_found_everything_runs_here_at_once(tmp_path: Path) -> None:
    """Discovery asks this machine alone, at a port where nobody answers."""
    tree = Tree(tmp_path / "tree")
    port = free_udp_port()
    (tmp_path / "client.toml").write_text(
        f'beacon_address = "127.0.0.1"\nbeacon_port = {port}\nbeacon_timeout_s = 0.1\nlocal_fallback = true\n'
    )
    tree.manifest("".join(f"build o{n}: sh\n  cmd = echo > o{n}\n" for n in range(COUNT)))

    run = tree.zbuild("--distributed", "--config", str(tmp_path / "client.toml"))

    assert run.exit_code == 0, run.stderr
    assert run.summary["local_reasons"] == {"no broker answered": COUNT}
    assert run.summary["wall_seconds"] < 10

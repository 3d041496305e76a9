"""Ctrl-C, and an ordinary user: nothing of a build outlives it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.tree import REPOSITORY, Run, Tree, finish
from tests.live_processes import processes_naming
from tests.polling import wait_until

pytestmark = pytest.mark.needs("bubblewrap", "ninja", "gcc")

INSTALLED = (
    "blake3",
    "gevent",
    "greenlet",
    "msgpack",
    "msgspec",
    "python-prctl",
    "pyzmq",
    "rich",
    "zope.event",
    "zope.interface",
)
"""The distributions that zbuild runs with."""


def files_of(tree: Tree) -> set[str]:
    return {str(path.relative_to(tree.build)) for path in tree.build.rglob("*") if path.is_file()}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_interrupted_build_leaves_no_process_no_partial_output_and_no_lock(
    embedded_tree: Tree, token: str, number: signal.Signals
) -> None:
    """A remote command, a local one and a console one are all at work when the signal comes."""
    tree = embedded_tree
    tree.manifest(
        f"""
        build remote: sh
          cmd = echo half > remote; sleep {token[:3]}.{token}; echo done > remote
        build local: sh
          cmd = echo half > local; sleep {token[:3]}.{token}; echo done > local
          generator = 1
        build done: sh
          cmd = echo {token} > done
        """
    )
    before = files_of(tree)
    build = tree.start("-j3")
    wait_until(lambda: len(processes_naming(f"sleep {token[:3]}.{token}")) >= 2, "both commands to run")
    wait_until((tree.build / "done").exists, "the third command to end")
    os.killpg(build.pid, number)
    run = finish(build)

    assert run.exit_code == 130
    assert "interrupted by user" in run.stderr
    wait_until(lambda: not processes_naming(token), f"no process of the build: {processes_naming(token)}")
    assert files_of(tree) - before == {".ninja_log", ".ninja_deps", "done"}
    assert not [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("zbuild-")]


def test_a_build_goes_on_where_an_interrupted_one_stopped(embedded_tree: Tree, token: str) -> None:
    tree = embedded_tree
    tree.manifest(
        f"""
        build first: sh
          cmd = echo {token} > first
        build second: sh first
          cmd = test ! -e wait || sleep 100; cp first second
        """
    )
    tree.write({"wait": ""})
    build = tree.start()
    wait_until((tree.build / "first").exists, "the first command to end")
    wait_until(lambda: bool(processes_naming("cp first second")), "the second command to begin")
    os.killpg(build.pid, signal.SIGINT)
    assert finish(build).exit_code == 130
    (tree.build / "wait").unlink()

    run = tree.zbuild()

    assert (run.exit_code, run.summary["actions"]) == (0, 1)
    assert tree.is_up_to_date()


def test_a_killed_client_leaves_no_process_and_no_directory(embedded_tree: Tree, token: str, short_path: Path) -> None:
    """SIGKILL gives no chance to clean up: the farm of its own ends by itself."""
    tree = embedded_tree
    tree.environment["TMPDIR"] = str(short_path)
    tree.manifest(f"build remote: sh\n  cmd = sleep {token[:3]}.{token}; touch remote\n")
    build = tree.start()
    wait_until(lambda: bool(processes_naming(f"sleep {token[:3]}.{token}")), "the command to run")
    (directory,) = (name for name in os.listdir(short_path) if name.startswith("zbuild-"))
    build.kill()
    finish(build)

    wait_until(lambda: not processes_naming(token), "the command to end")
    wait_until(lambda: not processes_naming(directory), "the farm to end")
    assert os.listdir(short_path) == []
    second = tree.zbuild_plain("-n")
    assert second.exit_code == 0


@pytest.fixture
def ordinary_user() -> Iterator[str]:
    """A user that exists for the test, as whom ``runuser`` runs commands."""
    name = f"zt{os.getpid() % 100_000}"
    subprocess.run(["useradd", "--create-home", name], check=True, capture_output=True)
    try:
        yield name
    finally:
        subprocess.run(["userdel", "--remove", name], check=True, capture_output=True)


def install(directory: Path) -> None:
    """zbuild and what it needs to run, copied."""
    shutil.copytree(REPOSITORY / "zbuild", directory / "zbuild", ignore=shutil.ignore_patterns("__pycache__"))
    for name in INSTALLED:
        for file in importlib.metadata.files(name) or ():
            if file.suffix != ".pyc" and ".." not in file.parts:
                (directory / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), directory / file)


def python_for(user: str) -> str:
    """An interpreter of our version that the user can run: our own, or the system's."""
    ours = ".".join(map(str, sys.version_info[:2]))
    for path in (os.path.realpath(sys.executable), f"/usr/bin/python{ours}"):
        asked = subprocess.run(["runuser", "-u", user, "--", path, "--version"], capture_output=True, check=False)
        if asked.returncode == 0:
            return path
    pytest.skip(f"Python {ours} is not installed where an ordinary user can run it")


@pytest.mark.needs("root")
def test_an_ordinary_user_builds_hermetically(ordinary_user: str, tree: Tree, token: str) -> None:
    """HOME, the cache, TMPDIR and the installation are the user's own: ours may lie where only root can read."""
    home = Path(f"/home/{ordinary_user}")
    mine = Tree(home / "tree")
    mine.write({"a.c": f"int main(void) {{ return 0; }} int t{token};\n"})
    mine.manifest("build a.o: cc a.c\nbuild app: link a.o\nbuild id.txt: sh\n  cmd = id -u > id.txt\n")
    install(home / "installed")
    subprocess.run(["chown", "-R", ordinary_user, home], check=True)
    environment = [f"HOME={home}", f"PYTHONPATH={home}/installed", "PATH=/usr/bin:/bin", f"TMPDIR={home}"]
    python = python_for(ordinary_user)

    def build() -> Run:
        command = ["runuser", "-u", ordinary_user, "--", "env", "-i", *environment]
        return tree.run([*command, python, "-m", "zbuild.cli.main", "build", "--json", "-C", str(mine.build)])

    run = build()
    assert run.all_remote, run.stderr
    assert mine.output_of("app") == ""
    for name in ("a.o", "app"):
        (mine.build / name).unlink()
    assert build().summary["cache_hits"] == 2
    assert (home / ".cache/zbuild").is_dir()

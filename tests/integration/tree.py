"""A build tree that a test makes, and zbuild and ninja run in it as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.polling import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]

RUN_TIMEOUT_S = 50.0
"""Below the limit of a test, so that a run that hangs is reported with what it printed."""


COMPILE_RULES = """\
rule cc
  command = gcc $flags -MD -MF $out.d -c $in -o $out
  depfile = $out.d
  deps = gcc
  description = CC $out
rule link
  command = gcc $in -o $out $libs
rule sh
  command = $cmd
"""


@dataclass(frozen=True)
class Run:
    """What one run of a program came to."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def summary(self) -> dict[str, Any]:
        """The object that --json prints, which is the only thing on stdout."""
        parsed: dict[str, Any] = json.loads(self.stdout)
        return parsed

    @property
    def all_remote(self) -> bool:
        """Whether the build succeeded and ran nothing on this machine outside the farm."""
        return self.exit_code == 0 and self.summary["local"] == 0 and self.summary["failed"] == 0


class Tree:
    """A directory with sources and a build directory.

    Attributes:
        root: the sources; ``build`` is where ninja runs, and is the same unless given.
        environment: of every run; a test may add to it.
        farm_flags: of every ``zbuild build``.
    """

    def __init__(self, root: Path, build: Path | None = None) -> None:
        self.root = root
        self.build = build or root
        self.build.mkdir(parents=True, exist_ok=True)
        self.environment = client_environment()
        self.farm_flags: list[str] = []

    def write(self, files: Mapping[str, str]) -> None:
        """Write files relative to the sources, dedented. A name that starts with ``!`` is made executable."""
        for name, text in files.items():
            path = self.root / name.removeprefix("!")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
            if name.startswith("!"):
                path.chmod(0o755)

    def manifest(self, text: str) -> None:
        """Write build.ninja: COMPILE_RULES, then ``text``, dedented."""
        (self.build / "build.ninja").write_text(COMPILE_RULES + textwrap.dedent(text))

    def zbuild(self, *flags: str) -> Run:
        """``zbuild build --json``."""
        return self.zbuild_plain("--json", *flags)

    def zbuild_plain(self, *flags: str) -> Run:
        """``zbuild build``."""
        return finish(self.start(*flags))

    def start(self, *flags: str) -> subprocess.Popen[str]:
        """``zbuild build`` in the background, as the leader of a process group of its own."""
        return start_module("zbuild.cli.main", "build", *self.farm_flags, *flags, cwd=self.build, env=self.environment)

    def ninja(self, *flags: str) -> Run:
        """ninja with the same environment."""
        return self.run(["ninja", *flags])

    def run(self, command: list[str]) -> Run:
        """Any program in the build directory."""
        process = subprocess.Popen(
            command,
            cwd=self.build,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        return finish(process)

    def is_up_to_date(self) -> bool:
        """Whether ninja finds nothing to do."""
        return "no work to do" in self.ninja("-n").stdout

    def text(self, name: str) -> str:
        """A file of the build directory."""
        return (self.build / name).read_text()

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a source file, so that it is newer than everything built before."""
        path = self.root / name
        before = path.stat().st_mtime_ns
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

        def is_newer() -> bool:
            os.utime(path)
            return path.stat().st_mtime_ns > before

        wait_until(is_newer, f"{path} to be newer")

    def output_of(self, program: str) -> str:
        """What a program of the build directory prints."""
        command = [str(self.build / program)]
        return subprocess.run(command, cwd=self.build, check=True, capture_output=True, text=True).stdout


def client_environment() -> dict[str, str]:
    """This process's environment, with zbuild's packages to be found and nothing that changes what it prints."""
    dropped = ("NINJA_STATUS", "NO_COLOR", "CFLAGS", "CLICOLOR_FORCE", "NOTIFY_SOCKET")
    return {name: value for name, value in os.environ.items() if name not in dropped} | {"PYTHONPATH": str(REPOSITORY)}


def start_module(module: str, *arguments: str, cwd: Path, env: Mapping[str, str]) -> subprocess.Popen[str]:
    """``python -m module`` in a process group of its own, its two outputs in pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def finish(process: subprocess.Popen[str]) -> Run:
    """Wait for the end. One that does not end in time is killed, and fails the test with what it printed."""
    try:
        stdout, stderr = process.communicate(timeout=RUN_TIMEOUT_S)
    except BaseException:
        process.kill()
        stdout, stderr = process.communicate()
        print(f"killed {process.args!r}\n{stdout}\n{stderr}")
        raise
    return Run(process.returncode, stdout, stderr)


def run_zbuild(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Run:
    """``zbuild`` with any command."""
    return finish(start_module("zbuild.cli.main", *arguments, cwd=cwd, env=env or client_environment()))

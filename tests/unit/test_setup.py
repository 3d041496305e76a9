"""bin/setup on machines that lack something: it installs what it may, and otherwise names it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASICS = (
    "sh",
    "env",
    "dirname",
    "cat",
    "sha256sum",
    "tr",
    "gcc",
    "g++",
    "make",
    "cmake",
    "meson",
    "ninja",
    "pkg-config",
    "ip",
)


class Machine:
    """A checkout, and a PATH on which only what it was given can be found."""

    def __init__(self, directory: Path) -> None:
        self.checkout = directory / "checkout"
        self.programs = directory / "programs"
        self.log = directory / "log"
        self.programs.mkdir()
        (self.checkout / "bin").mkdir(parents=True)
        shutil.copy(ROOT / "bin" / "setup", self.checkout / "bin")
        shutil.copy(ROOT / "pyproject.toml", self.checkout)
        for name in (*BASICS, "python3"):
            self.add(name, f'exec {shutil.which(name) or "false"} "$@"\n')

    def add(self, name: str, script: str) -> None:
        """Puts a program on PATH."""
        (self.programs / name).write_text("#!/bin/sh\n" + script)
        (self.programs / name).chmod(0o755)

    def set_up(self, *arguments: str) -> tuple[int, str]:
        """The exit code of bin/setup and what it said."""
        done = subprocess.run(
            [self.checkout / "bin" / "setup", *arguments],
            env={"PATH": str(self.programs)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr + done.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A Debian machine without bubblewrap, as an ordinary user."""
    made = Machine(tmp_path)
    made.add("id", "echo 1000\n")
    made.add("apt-get", f'echo "$*" >>{made.log}\n')
    return made


def test_an_ordinary_user_is_told_what_is_missing_and_the_command(machine: Machine) -> None:
    code, said = machine.set_up()
    assert code == 3
    assert "apt-get update && apt-get install -y --no-install-recommends bubblewrap\n" in said
    assert not machine.log.exists()
    assert not (machine.checkout / ".venv").exists()


def test_sudo_that_asks_for_a_password_is_not_used(machine: Machine) -> None:
    machine.add("sudo", f'echo "$*" >>{machine.log}\nexit 1\n')
    assert machine.set_up()[0] == 3
    assert machine.log.read_text() == "-n true\n"


def test_root_installs_what_is_missing_and_says_if_that_did_not_help(machine: Machine) -> None:
    machine.add("id", "echo 0\n")
    code, said = machine.set_up()
    assert code == 3
    assert "still missing, though their Debian packages are installed: bubblewrap" in said
    assert machine.log.read_text() == "-qq install -y --no-install-recommends bubblewrap\n"


def test_package_lists_are_fetched_when_an_installation_fails(machine: Machine) -> None:
    machine.add("id", "echo 0\n")
    machine.add("apt-get", f'echo "$*" >>{machine.log}\n[ "$2" = update ]\n')
    assert machine.set_up()[0] != 0
    assert [line.split()[1] for line in machine.log.read_text().splitlines()] == ["install", "update", "install"]


def test_without_apt_the_packages_are_named(machine: Machine) -> None:
    (machine.programs / "apt-get").unlink()
    code, said = machine.set_up()
    assert code == 3
    assert "no apt-get to install them with; Debian calls them: bubblewrap" in said


def test_a_python_that_is_too_old_is_a_missing_one(machine: Machine) -> None:
    machine.add("python3", "exit 1\n")
    script = (machine.checkout / "bin" / "setup").read_text()
    (machine.checkout / "bin" / "setup").write_text(script.replace("/usr/bin/python3 ", ""))
    assert "python3 python3-venv python3-dev" in machine.set_up()[1]


@pytest.mark.parametrize("arguments", [["bench"], ["test", "test"], [""]])
def test_a_wrong_argument_is_a_usage_error(machine: Machine, arguments: list[str]) -> None:
    assert machine.set_up(*arguments) == (2, "usage: bin/setup [test]\n")

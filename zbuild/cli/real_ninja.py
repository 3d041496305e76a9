"""The ninja that is installed: its version, and its tools (``-t``), which read and write the same logs."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from zbuild.errors import BadInput

STAND_IN_VERSION = "1.11.1"
"""What is stood in for where no ninja is installed: the oldest whose log format every ninja since 2022 reads."""

_NAMES = ("ninja", "ninja-build", "samu")
_LAUNCHERS = ("zbuild", "zbuild-ninja")


def find_ninja() -> str | None:
    """Along PATH. A link of that name to zbuild's own launcher is none."""
    for name in _NAMES:
        for directory in os.environ.get("PATH", os.defpath).split(":"):
            path = os.path.join(directory, name)
            is_own = os.path.basename(os.path.realpath(path)) in _LAUNCHERS
            if os.path.isfile(path) and os.access(path, os.X_OK) and not is_own:
                return path
    return None


def ninja_version() -> str:
    """As ``ninja --version`` prints it."""
    ninja = find_ninja()
    if ninja is None:
        return STAND_IN_VERSION
    return _first_line([ninja, "--version"]) or STAND_IN_VERSION


def _first_line(argv: list[str]) -> str:
    """What a program prints. Without subprocess: its import would take longer than ninja does.

    Raises:
        OSError: it cannot be started.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
    except OSError:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as stream:
        said = stream.read()
    os.waitpid(pid, 0)
    return said.partition("\n")[0].strip()


def run_ninja(arguments: list[str], purpose: str) -> NoReturn:
    """Become ninja.

    Raises:
        BadInput: none is installed.
    """
    ninja = find_ninja()
    if ninja is None:
        raise BadInput(f"{purpose} is a tool of ninja's own, and no ninja is installed")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(ninja, [ninja, *arguments])

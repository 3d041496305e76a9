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
    import subprocess

    asked = subprocess.run([ninja, "--version"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return asked.stdout.strip() or STAND_IN_VERSION


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

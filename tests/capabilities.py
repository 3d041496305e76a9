"""What this machine has of the things that some tests need: asked once, printed at the head of every run."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from tests import projects


@dataclass(frozen=True)
class Capability:
    """One thing a test may need.

    Attributes:
        absence: why it is not there; empty when it is.
    """

    name: str
    absence: str

    @property
    def is_present(self) -> bool:
        """Whether tests that need it can run."""
        return not self.absence


@functools.cache
def capability(name: str) -> Capability:
    """The capability of that name.

    Raises:
        KeyError: no capability is called that.
    """
    return Capability(name, _PROBES[name]())


def names() -> tuple[str, ...]:
    """All of them."""
    return tuple(_PROBES)


def _root() -> str:
    return "" if os.geteuid() == 0 else "running as an ordinary user"


def _program(name: str) -> str:
    return "" if shutil.which(name) else f"{name} is not installed"


def _bubblewrap() -> str:
    """Whether it can really make its namespaces: being installed is not enough in many containers."""
    if absence := _program("bwrap"):
        return absence
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    probe = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return "" if probe.returncode == 0 else probe.stderr.strip() or f"bwrap exited with {probe.returncode}"


def _registry() -> str:
    """Whether every project is at hand. bin/test fetches them before the tests, and says what went wrong."""
    missing = [project.name for project in projects.PROJECTS.values() if not projects.is_cached(project)]
    return f"not fetched: {', '.join(missing)}; see python -m tests.projects" if missing else ""


def _namespaces() -> str:
    """Whether mounts and networks of one's own can be had, and be set up."""
    for program in ("unshare", "nsenter", "ip", "mount"):
        if absence := _program(program):
            return absence
    command = ["unshare", "--mount", "--net", "ip", "link", "set", "lo", "up"]
    probe = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return "" if probe.returncode == 0 else probe.stderr.strip() or f"unshare exited with {probe.returncode}"


_PROBES: dict[str, Callable[[], str]] = {
    "root": _root,
    "bubblewrap": _bubblewrap,
    "registry": _registry,
    "ninja": functools.partial(_program, "ninja"),
    "cmake": functools.partial(_program, "cmake"),
    "meson": functools.partial(_program, "meson"),
    "namespaces": _namespaces,
    "gcc": functools.partial(_program, "gcc"),
    "distcc": functools.partial(_program, "distcc"),
}

"""How zbuild starts a process that runs another of its own modules."""

from __future__ import annotations

import os
import sys

import zbuild


def module_argv(module: str, *arguments: str) -> list[str]:
    """The argv that runs a module. -P: whoever owns the current directory has no say in what is imported."""
    return [sys.executable, "-P", "-m", module, *arguments]


def module_environment() -> dict[str, str]:
    """The environment in which ``module_argv`` finds this very zbuild, installed or checked out."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(zbuild.__file__)))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}

"""The flags that name capabilities: what ``zbuild exec`` asks for, and what ``zbuild-worker`` grants."""

from __future__ import annotations

import argparse
import re
from typing import Any

import msgspec

from zbuild.limits import CEILING_TIMEOUT_S, GIB, KIB, MIB
from zbuild.model.capabilities import Capabilities

_KEYS = tuple(field.name for field in msgspec.structs.fields(Capabilities))
_SIZE = re.compile(r"([0-9]{1,15})\s*([KMGkmg]?)(?:iB|B)?", re.ASCII)
_UNITS = {"": 1, "k": KIB, "m": MIB, "g": GIB}


def add_capability_flags(parser: argparse.ArgumentParser, title: str) -> None:
    """Add them, as a group of their own in the help; those not given are None."""
    group = parser.add_argument_group(title)
    switch = argparse.BooleanOptionalAction
    group.add_argument("--network", action=switch, default=None, help="the worker's network (default: none)")
    group.add_argument("--write-home", action=switch, default=None, help="a private home directory")
    group.add_argument("--write-tmp", action=switch, default=None, help="a private /tmp")
    group.add_argument("--read-path", dest="read_paths", action="append", metavar="P", help="path of the worker to see")
    group.add_argument("--write-path", dest="write_paths", action="append", metavar="P", help="... and to write")
    group.add_argument("--max-cpu", type=int, metavar="N", help="processors")
    group.add_argument("--max-memory", dest="max_memory_bytes", type=_size, metavar="SIZE", help="512M, 8G, or bytes")
    group.add_argument("--timeout", dest="timeout_s", type=float, metavar="S", help="seconds of wall-clock time")


def given_capabilities(flags: argparse.Namespace) -> dict[str, Any]:
    """The flags that were given, by the names of the fields and of the keys in worker.toml."""
    given = {key: getattr(flags, key) for key in _KEYS if getattr(flags, key) is not None}
    return {key: sorted(set(value)) if isinstance(value, list) else value for key, value in given.items()}


def ceiling_flags(capabilities: Capabilities) -> list[str]:
    """The flags with which a worker grants these beyond what it grants by default."""
    flags = ["--network"] if capabilities.network else []
    flags += [f"--read-path={path}" for path in capabilities.read_paths]
    flags += [f"--write-path={path}" for path in capabilities.write_paths]
    return [*flags, f"--timeout={max(capabilities.timeout_s, CEILING_TIMEOUT_S)!r}"]


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"not a size: {text!r}: expected 512M, 8G, or bytes")
    return int(match[1]) * _UNITS[match[2].lower()]

"""Paths as ninja spells them: made canonical textually, and quoted for the shell in ``$in`` and ``$out``."""

from __future__ import annotations

import re

_SHELL_SAFE = re.compile(r"[A-Za-z0-9_+\-./]*")


def canonicalize(path: str) -> str:
    """Drop ``.``, ``//`` and ``name/..`` from a path without looking at the disk.

    Leading ``..`` components stay, also behind a leading slash. ``""`` stays empty; a path that
    cancels out becomes ``.``. Rules: ``CanonicalizePath`` of ninja's ``src/util.cc``.
    """
    if "//" not in path and "./" not in path and not path.endswith(("/", ".")):
        return path
    if not path:
        return path
    kept: list[str] = []
    removable = 0
    for component in path.split("/"):
        if component in ("", "."):
            continue
        if component != "..":
            kept.append(component)
            removable += 1
        elif removable:
            kept.pop()
            removable -= 1
        else:
            kept.append(component)
    joined = "/".join(kept)
    if path.startswith("/"):
        return "/" + joined
    return joined or "."


def shell_quoted(path: str) -> str:
    """The path as one word of ``/bin/sh``, in single quotes if it needs any."""
    if _SHELL_SAFE.fullmatch(path):
        return path
    return "'" + path.replace("'", "'\\''") + "'"

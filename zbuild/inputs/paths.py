"""Absolute paths as text: what is below what, and which directories belong to the system."""

from __future__ import annotations

import os

SYSTEM_DIRECTORIES = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc")
"""What a worker shows read-only in every sandbox: the directories that packages own (Filesystem Hierarchy Standard)."""

KERNEL_DIRECTORIES = ("/dev", "/proc", "/sys")
"""File systems of the kernel (file-hierarchy(7)): what is in them belongs to a machine and cannot be staged."""

_SYSTEM_PREFIXES = tuple(directory + "/" for directory in SYSTEM_DIRECTORIES)


def is_below(path: str, directory: str) -> bool:
    """Whether ``path`` is ``directory`` or lies in it. Both absolute and normalised."""
    return path == directory or path.startswith(directory if directory == "/" else directory + "/")


def is_system(path: str) -> bool:
    return path.startswith(_SYSTEM_PREFIXES) or path in SYSTEM_DIRECTORIES


def is_kernel(path: str) -> bool:
    return any(is_below(path, directory) for directory in KERNEL_DIRECTORIES)


def absolute(path: str, working_directory: str) -> str:
    """``path`` seen from ``working_directory``, without ``.`` and ``..``.

    A directory that is left by ``..`` and is a symbolic link is resolved first, as the kernel does it.
    """
    joined = path if path.startswith("/") else working_directory + "/" + path
    if "/.." not in joined:
        return joined if "//" not in joined and "/./" not in joined and joined[-1:] not in "/." else _normalised(joined)
    parts: list[str] = []
    for part in joined.split("/"):
        if part == "..":
            parent = "/" + "/".join(parts)
            if parts and os.path.islink(parent):
                parts = os.path.realpath(parent).split("/")[1:]
            if parts:
                parts.pop()
        elif part and part != ".":
            parts.append(part)
    return "/" + "/".join(parts)


def _normalised(path: str) -> str:
    result = os.path.normpath(path)
    return result[1:] if result.startswith("//") else result


def crossed_directories(path: str, working_directory: str) -> list[str]:
    """The directories that ``path`` enters only to leave them by ``..``: they must exist for the path to resolve."""
    joined = path if path.startswith("/") else working_directory + "/" + path
    found: list[str] = []
    parts: list[str] = []
    for part in joined.split("/"):
        if part == "..":
            if parts:
                found.append("/" + "/".join(parts))
                parts.pop()
        elif part and part != ".":
            parts.append(part)
    return found

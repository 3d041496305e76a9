"""The children of this process, also those that it has become the parent of."""

from __future__ import annotations

import os


def children() -> set[int]:
    """Their PIDs: proc(5). It needs CONFIG_PROC_CHILDREN, which distributions set."""
    pid = os.getpid()
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return set(map(int, file.read().split()))

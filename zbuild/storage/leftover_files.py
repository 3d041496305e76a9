"""What a command has left in its stage beside its outputs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection

from zbuild.limits import COLLECTED_FILES, LEFTOVER_FILES
from zbuild.storage.staging import StagePlan


def leftover_files(plan: StagePlan, inputs: Collection[str]) -> tuple[str, ...]:
    """Canonical paths of files and symlinks below the writable root that are no inputs, sorted.

    To be called when the outputs have been moved away, and nothing of the command runs any more. At most
    LEFTOVER_FILES are named, of the first COLLECTED_FILES that are seen; what cannot be read or said is left out.
    """
    found: list[str] = []
    pending = [plan.writable_root]
    seen = 0
    while pending and seen < COLLECTED_FILES:
        directory = pending.pop()
        with contextlib.suppress(OSError), os.scandir(plan.location(directory)) as entries:
            for entry in entries:
                seen += 1
                path = f"{directory}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                elif path not in inputs and (entry.is_symlink() or entry.is_file(follow_symlinks=False)):
                    found.append(path)
    return tuple(sorted(filter(_is_text, found))[:LEFTOVER_FILES])


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True

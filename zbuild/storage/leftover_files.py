"""What a command has left in its stage beside its outputs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection

from zbuild.limits import COLLECTED_FILES, LEFTOVER_FILES
from zbuild.storage.blob_files import BLOB_MTIME_NS
from zbuild.storage.staging import StagePlan


def leftover_files(plan: StagePlan, inputs: Collection[str], directories: Collection[str]) -> tuple[str, ...]:
    """Canonical paths of what lies below the writable root and was not there before, sorted.

    That is files and symlinks, inputs that were changed, and empty directories, which have a slash at the end. To be
    called when the outputs have been moved away, and nothing of the command runs any more. At most LEFTOVER_FILES are
    named, of the first COLLECTED_FILES that are seen; what cannot be read or said is left out.

    Args:
        directories: those that were made for the action, which may be empty by now.
    """
    found: list[str] = []
    pending = [plan.writable_root]
    seen = 0
    while pending and seen < COLLECTED_FILES:
        directory = pending.pop()
        with contextlib.suppress(OSError), os.scandir(plan.location(directory)) as entries:
            is_empty = True
            for entry in entries:
                seen += 1
                is_empty = False
                path = f"{directory}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                elif path in inputs:
                    if entry.stat(follow_symlinks=False).st_mtime_ns != BLOB_MTIME_NS:
                        found.append(path)
                elif entry.is_symlink() or entry.is_file(follow_symlinks=False):
                    found.append(path)
            if is_empty and directory not in directories:
                found.append(directory + "/")
    return tuple(sorted(filter(_is_text, found))[:LEFTOVER_FILES])


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True

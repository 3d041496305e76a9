"""Temporary files that never outlive their process, whichever way it ends.

Each process has a directory of its own below the parent and holds a kernel lock on it. The lock
ends with the process, so whoever starts next can tell a dead owner's files from a live one's without
clocks or process ids (which repeat, and differ between PID namespaces).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil

from zbuild.directory_lock import LOCK_NAME, lock_directory


class ScratchDirectory:
    """A locked directory below ``parent``; at the start those of dead processes are removed.

    Raises:
        OSError: the directory cannot be made.
    """

    def __init__(self, parent: str) -> None:
        os.makedirs(parent, 0o700, exist_ok=True)
        self.path = os.path.join(parent, os.urandom(8).hex())
        self._parent = parent
        self._numbers = itertools.count()
        self._lock = -1
        self._make()

    def remake(self) -> None:
        """Make the directory again after somebody has removed it. Paths given out before are below the new one.

        Raises:
            OSError: it cannot be made.
        """
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        os.makedirs(self._parent, 0o700, exist_ok=True)
        self._make()

    def _make(self) -> None:
        # Nobody may find a directory between its making and its locking: the parent's lock covers both.
        gate = lock_directory(self._parent, waits=True)
        try:
            _remove_abandoned(self._parent)
            os.mkdir(self.path, 0o700)
            self._lock = lock_directory(self.path, waits=True)
        finally:
            os.close(gate)

    def new_path(self) -> str:
        """A path below the directory that was not returned before. Nothing is created."""
        return f"{self.path}/{next(self._numbers)}"

    def close(self) -> None:
        """Remove the directory and everything in it. Closing twice is harmless."""
        if self._lock < 0:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1


def _remove_abandoned(parent: str) -> None:
    for name in os.listdir(parent):
        path = os.path.join(parent, name)
        if name == LOCK_NAME:
            continue
        try:
            descriptor = lock_directory(path, waits=False)
        except BlockingIOError:
            continue
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(path)
            continue
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)

"""The files under a blob directory: where they lie, how one gets its name, what is said when the disk refuses."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

from zbuild.digest import Digest
from zbuild.errors import StoreFailed
from zbuild.limits import QUARANTINE_FILES
from zbuild.model.source_date import SOURCE_DATE_NS
from zbuild.storage.scratch_directory import ScratchDirectory

BLOB_MTIME_NS = SOURCE_DATE_NS
"""Inputs are links to blobs, so this is what an action sees as their time."""

EXECUTABLE_SUFFIX = ".x"

BLOB_DIRECTORIES = frozenset("0123456789abcdef")
"""Each holds the blobs whose hashes begin with its name."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

T = TypeVar("T")


class BlobFiles:
    """The layout of one blob directory; BlobDirectory and BlobWriter work on it.

    Attributes:
        device: the file system's number.
        stored_bytes: bytes of blobs published since the start.
        verified_inodes: path to inode of the files whose bytes are known to be right.

    Raises:
        StoreFailed: the directory cannot be made or written.
    """

    def __init__(self, path: str | os.PathLike[str], *, is_durable: bool) -> None:
        self.path = os.path.abspath(path)
        self.quarantine = os.path.join(self.path, "quarantine")
        self.stored_bytes = 0
        self.verified_inodes: dict[str, int] = {}
        self._is_durable = is_durable
        try:
            for directory in (self.path, self.quarantine):
                os.makedirs(directory, 0o700, exist_ok=True)
            self.scratch = ScratchDirectory(os.path.join(self.path, "tmp"))
            self.device = os.stat(self.path).st_dev
        except OSError as error:
            raise StoreFailed(f"cannot open the blob directory {self.path}: {error.strerror}") from error

    def location(self, blob_hash: bytes) -> str:
        """Where the blob lies or will lie."""
        name = blob_hash.hex()
        return f"{self.path}/{name[0]}/{name}"

    def has(self, digest: Digest) -> bool:
        """Whether a file of the right name and size is there. Raises StoreFailed."""
        path = self.location(digest.hash)
        try:
            status = self.mending(path, lambda: os.lstat(path))
            return status.st_size == digest.size_bytes and stat.S_ISREG(status.st_mode)
        except FileNotFoundError:
            return False
        except OSError as error:
            self.refuse("look for", digest, error)

    def publish(self, descriptor: int, source: str, path: str) -> None:
        """Give the complete and verified file ``source``, open as ``descriptor``, its name.

        Raises:
            OSError: the disk refused.
        """
        os.fchmod(descriptor, _mode_of(path))
        os.utime(descriptor, ns=(time.time_ns(), BLOB_MTIME_NS))
        if self._is_durable:
            os.fsync(descriptor)
        try:
            self.mending(path, lambda: os.rename(source, path))
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            os.rename(source, path)
        status = os.fstat(descriptor)
        self.verified_inodes[path] = status.st_ino
        self.stored_bytes += status.st_size

    def mending(self, path: str, step: Callable[[], T]) -> T:
        """What ``step`` returns. If the modes of a blob or of its directory are in its way, they are set right first.

        Raises:
            OSError: as ``step``.
        """
        try:
            return step()
        except PermissionError:
            if not self._mend_modes(path):
                raise
            return step()

    def put_aside(self, path: str) -> str:
        """Move what should be a blob and is not into quarantine, where the newest QUARANTINE_FILES stay; its new path.

        Raises:
            OSError: it cannot be moved; FileNotFoundError when another process has done so.
        """
        os.makedirs(self.quarantine, 0o700, exist_ok=True)
        kept = os.path.join(self.quarantine, f"{os.path.basename(path)}.{time.time_ns()}")
        os.rename(path, kept)
        with os.scandir(self.quarantine) as entries:
            by_age = sorted(entries, key=lambda entry: entry.stat(follow_symlinks=False).st_ctime_ns)
        for entry in by_age[:-QUARANTINE_FILES]:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)
        return kept

    def _mend_modes(self, path: str) -> bool:
        """Give a blob and its directory the modes that they were made with; whether any was another."""
        is_changed = False
        for each, mode in ((os.path.dirname(path), 0o700), (path, _mode_of(path))):
            with contextlib.suppress(OSError):
                if os.lstat(each).st_mode & mode != mode:
                    os.chmod(each, mode)
                    is_changed = True
        return is_changed

    def refuse(self, verb: str, digest: Digest, error: OSError) -> NoReturn:
        """Raises StoreFailed: ``cannot store blob 9f2c01aa.../1204: disk full (need 1204 B, free 0 B)``."""
        raise StoreFailed(f"cannot {verb} blob {digest.short}: {self.reason(error, digest.size_bytes)}") from error

    def reason(self, error: OSError, needed_bytes: int) -> str:
        """What the disk refused for, in words and bytes."""
        if error.errno not in _FULL:
            return f"{error.strerror} ({self.path})"
        space = os.statvfs(self.path)
        return f"disk full (need {needed_bytes} B, free {space.f_bavail * space.f_frsize} B)"


def _mode_of(path: str) -> int:
    return 0o555 if path.endswith(EXECUTABLE_SUFFIX) else 0o444

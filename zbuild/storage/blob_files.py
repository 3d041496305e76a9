"""The files under a blob directory: where they lie, how one gets its name, what is said when the disk refuses."""

from __future__ import annotations

import errno
import os
import time
from typing import NoReturn

from zbuild.digest import Digest
from zbuild.errors import StoreFailed
from zbuild.storage.scratch_directory import ScratchDirectory

BLOB_MTIME_NS = 946_684_800 * 10**9
"""2000-01-01T00:00:00Z: constant for equal results, and past 1980, before which zip refuses a file."""

EXECUTABLE_SUFFIX = ".x"

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


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
        return f"{self.path}/{name[:2]}/{name}"

    def has(self, digest: Digest) -> bool:
        """Whether a file of the right name and size is there. Raises StoreFailed."""
        try:
            return os.stat(self.location(digest.hash)).st_size == digest.size_bytes
        except FileNotFoundError:
            return False
        except OSError as error:
            self.refuse("look for", digest, error)

    def publish(self, descriptor: int, source: str, path: str) -> None:
        """Give the complete and verified file ``source``, open as ``descriptor``, its name.

        Raises:
            OSError: the disk refused.
        """
        os.fchmod(descriptor, 0o555 if path.endswith(EXECUTABLE_SUFFIX) else 0o444)
        os.utime(descriptor, ns=(time.time_ns(), BLOB_MTIME_NS))
        if self._is_durable:
            os.fsync(descriptor)
        try:
            os.rename(source, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            os.rename(source, path)
        status = os.fstat(descriptor)
        self.verified_inodes[path] = status.st_ino
        self.stored_bytes += status.st_size

    def refuse(self, verb: str, digest: Digest, error: OSError) -> NoReturn:
        """Raises StoreFailed: ``cannot store blob 9f2c01aa.../1204: disk full (need 1204 B, free 0 B)``."""
        raise StoreFailed(f"cannot {verb} blob {digest.short}: {self.reason(error, digest.size_bytes)}") from error

    def reason(self, error: OSError, needed_bytes: int) -> str:
        """What the disk refused for, in words and bytes."""
        if error.errno not in _FULL:
            return f"{error.strerror} ({self.path})"
        space = os.statvfs(self.path)
        return f"disk full (need {needed_bytes} B, free {space.f_bavail * space.f_frsize} B)"

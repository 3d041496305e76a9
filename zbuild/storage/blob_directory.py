"""Content-addressed files: the farm's store, and each worker's local cache.

A blob lies at ``a/<hash>``, 64 hex digits of BLAKE3, with mode 0444. The directories are few, because in a young store
a new directory costs as much as several blobs; ARCHITECTURE.md has the figures. An executable input needs
mode 0555, and a hard link shares its inode's mode, so the executable form is a file of its own,
``<hash>.x``, made on demand. Every blob has the same modification time, so what is staged from it
has, too. Several processes may use one directory at once: files only ever appear whole, by rename,
and two writers of one blob write the same bytes.

A file's bytes are verified before a process first stages or links them; afterwards an unchanged inode, size and
modification time vouch for them there. What is read to be sent is verified each time. Access times order the blobs
for eviction.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterable
from typing import NoReturn

from blake3 import blake3

from zbuild import digest as digests
from zbuild.digest import READ_BYTES, Digest
from zbuild.errors import BadInput, BlobCorrupt, BlobMissing, StoreFailed
from zbuild.limits import USE_RESOLUTION_S, USES_BATCH
from zbuild.storage.blob_files import BLOB_MTIME_NS, EXECUTABLE_SUFFIX, BlobFiles
from zbuild.storage.blob_writer import BlobWriter

_OWN_ATTRIBUTE = re.compile(r"user\.|system\.posix_acl").match
"""Attributes that a command can give a file; others, such as security.selinux, are the machine's."""


class BlobDirectory:
    """The blobs below ``path``.

    Args:
        path: made when absent, with mode 0700: sources are nobody else's business.
        is_durable: fsync each blob before it gets its name. Without it a power cut can leave blobs
            that are truncated or wrong; these are found when first read, never served.
        pause: called after each MiB of a file that is stored, which may have 64 GiB, to serve others meanwhile.

    Raises:
        StoreFailed: the directory cannot be made or written.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, is_durable: bool, pause: Callable[[], None] | None = None
    ) -> None:
        self._pause = pause
        self._files = BlobFiles(path, is_durable=is_durable)
        self.path = self._files.path
        self.device = self._files.device
        self._used: set[bytes] = set()
        self._recently_used: set[bytes] = set()
        self._recent_since_s = time.monotonic()

    @property
    def stored_bytes(self) -> int:
        """Bytes of new blobs since the start; what eviction goes by."""
        return self._files.stored_bytes

    def contains(self, digest: Digest) -> bool:
        """Whether a file of the right name and size is there. Its bytes are not looked at."""
        is_present = self._files.has(digest)
        if is_present:
            self.mark_used((digest.hash,))
        return is_present

    def put_bytes(self, data: bytes | bytearray | memoryview, expected: Digest | None = None) -> Digest:
        """Store ``data`` and return its digest.

        Raises:
            BlobCorrupt: the digest is not ``expected``.
            StoreFailed: the disk refused.
        """
        digest = digests.of_bytes(data)
        if expected is not None and digest != expected:
            raise BlobCorrupt(f"blob {expected.short} was sent with the bytes of {digest.short}")
        if not self.contains(digest):
            with BlobWriter(self._files, digest, is_verified=True) as writer:
                writer.write(data)
                writer.commit()
        return digest

    def put_file(self, path: str, *, is_moved: bool) -> Digest:
        """Store the regular file at ``path``; a symlink is not followed.

        Args:
            is_moved: the file is given away. It is renamed where that is safe (same file system, no other
                hard link, through which it could still be written, no attributes, which no digest covers) and is
                gone afterwards in any case.

        Raises:
            BadInput: ``path`` is no regular file, or another file took its place meanwhile.
            OSError: ``path`` cannot be opened.
            StoreFailed: the disk refused.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BadInput(f"cannot store {path}: it is not a regular file")
            is_plain = status.st_nlink == 1 and not any(map(_OWN_ATTRIBUTE, os.listxattr(descriptor)))
            if is_moved and is_plain and status.st_dev == self.device:
                return self._take(path, descriptor, status)
            digest = self._copy_in(descriptor, path)
        finally:
            os.close(descriptor)
        if is_moved:
            os.unlink(path)
        return digest

    def was_used_within(self, digest: Digest, duration_s: float) -> bool:
        """Whether any process has asked for the blob, or made it, in the last ``duration_s`` seconds.

        Uses are written to disk in batches, see ``flush_uses``.
        """
        try:
            return os.stat(self._files.location(digest.hash)).st_atime > time.time() - duration_s
        except OSError:
            return False

    def writer(self, digest: Digest) -> BlobWriter:
        """Begin a blob that arrives in chunks; see BlobWriter."""
        return BlobWriter(self._files, digest)

    def open(self, digest: Digest) -> int:
        """A descriptor for reading the verified blob; the caller closes it.

        Raises:
            BlobMissing, BlobCorrupt, StoreFailed
        """
        path = self.path_of(digest)
        try:
            return self._files.mending(path, lambda: os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
        except OSError as error:
            self._files.refuse("read", digest, error)

    def read(self, digest: Digest, offset: int = 0, length: int | None = None) -> bytes:
        """At most ``length`` bytes from ``offset``, all that there are when it is None.

        A blob is verified anew whenever its beginning is read: a disk that decays changes neither inode nor times.

        Raises:
            BlobMissing, BlobCorrupt, StoreFailed
        """
        wanted_bytes = max(0, digest.size_bytes - offset)
        if length is not None:
            wanted_bytes = min(wanted_bytes, length)
        if offset == 0 and wanted_bytes < digest.size_bytes:
            self._files.verified_inodes.pop(self._files.location(digest.hash), None)
        descriptor = self.open(digest)
        try:
            data = os.pread(descriptor, wanted_bytes, offset)
            # The kernel reads at most 2 GiB at once.
            while 0 < len(data) < wanted_bytes:
                rest = os.pread(descriptor, wanted_bytes - len(data), offset + len(data))
                if not rest:
                    break
                data += rest
        except OSError as error:
            self._files.refuse("read", digest, error)
        finally:
            os.close(descriptor)
        if offset == 0 and wanted_bytes == digest.size_bytes and digests.of_bytes(data) != digest:
            self._quarantine(digest, self._files.location(digest.hash))
        return data

    def read_unverified(self, digest: Digest, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``, for a receiver that verifies the whole blob itself.

        It costs what is read, where ``read`` may hash a file of gigabytes for its first part.

        Raises:
            BlobMissing: no file of that size is here, or it became shorter.
            StoreFailed: the disk refused.
        """
        self.mark_used((digest.hash,))
        path = self._files.location(digest.hash)
        try:
            descriptor = self._files.mending(path, lambda: os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
            try:
                has_size = os.fstat(descriptor).st_size == digest.size_bytes
                data = os.pread(descriptor, length, offset) if has_size else b""
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            raise BlobMissing(f"blob {digest.short} is not in {self.path}") from None
        except OSError as error:
            self._files.refuse("read", digest, error)
        if not has_size or len(data) != length:
            raise BlobMissing(f"blob {digest.short} is not in {self.path}: the file there has another size")
        return data

    def path_of(self, digest: Digest, executable: bool = False) -> str:
        """Where the verified blob lies, for hard links and copies. Mode 0444, or 0555 when ``executable``.

        Raises:
            BlobMissing: it is not here.
            BlobCorrupt: it was here with other bytes, and is in quarantine now.
            StoreFailed: the disk refused.
        """
        self.mark_used((digest.hash,))
        path = self._files.location(digest.hash)
        if not executable:
            self._verify(digest, path)
            return path
        executable_path = path + EXECUTABLE_SUFFIX
        try:
            self._verify(digest, executable_path)
        except BlobMissing:
            self._make_executable(digest, executable_path)
        return executable_path

    def mark_used(self, hashes: Iterable[bytes]) -> None:
        """Note a use of each blob, for eviction. Access times are written in batches."""
        self._used.update(hashes)
        if len(self._used) - len(self._recently_used) >= USES_BATCH:
            self.flush_uses()

    def flush_uses(self) -> None:
        """Write the access times of the blobs used since the last time."""
        now_s = time.monotonic()
        if now_s - self._recent_since_s >= USE_RESOLUTION_S:
            self._recently_used = set()
            self._recent_since_s = now_s
        used_ns = time.time_ns()
        for blob_hash in self._used - self._recently_used:
            # An evicted blob, or a disk that turned read-only, costs its place in the order and nothing else.
            with contextlib.suppress(OSError):
                os.utime(self._files.location(blob_hash), ns=(used_ns, BLOB_MTIME_NS))
        self._recently_used |= self._used
        self._used = set(self._recently_used)

    def forget(self, blob_hash: bytes) -> None:
        """Drop what is remembered of a blob that was removed."""
        path = self._files.location(blob_hash)
        self._files.verified_inodes.pop(path, None)
        self._files.verified_inodes.pop(path + EXECUTABLE_SUFFIX, None)
        self._used.discard(blob_hash)
        self._recently_used.discard(blob_hash)

    def close(self) -> None:
        """Write what is pending and remove this process's temporary files."""
        self.flush_uses()
        self._files.scratch.close()

    def _verify(self, digest: Digest, path: str) -> None:
        try:
            status = self._files.mending(path, lambda: os.lstat(path))
            if (
                self._files.verified_inodes.get(path) == status.st_ino
                and status.st_mtime_ns == BLOB_MTIME_NS
                and status.st_size == digest.size_bytes
            ):
                return
            if not stat.S_ISREG(status.st_mode):
                self._quarantine(digest, path)
            found = self._files.mending(path, lambda: digests.of_file(path))
            if found.hash != digest.hash:
                self._quarantine(digest, path)
            if found != digest:
                raise BlobMissing(f"blob {digest.short} is not in {self.path}: it has {found.size_bytes} B here")
            if status.st_mtime_ns != BLOB_MTIME_NS:
                os.utime(path, ns=(status.st_atime_ns, BLOB_MTIME_NS))
        except FileNotFoundError:
            raise BlobMissing(f"blob {digest.short} is not in {self.path}") from None
        except OSError as error:
            self._files.refuse("verify", digest, error)
        self._files.verified_inodes[path] = status.st_ino

    def _quarantine(self, digest: Digest, path: str) -> NoReturn:
        self._files.verified_inodes.pop(path, None)
        try:
            kept = self._files.put_aside(path)
        except FileNotFoundError:
            raise BlobMissing(f"blob {digest.short} is not in {self.path}") from None
        except OSError as error:
            self._files.refuse("quarantine", digest, error)
        raise BlobCorrupt(f"blob {digest.short} has other bytes than its digest says; moved to {kept}")

    def _make_executable(self, digest: Digest, path: str) -> None:
        source = self.open(digest)
        try:
            with BlobWriter(self._files, digest, path=path) as writer:
                while data := os.read(source, READ_BYTES):
                    writer.write(data)
                writer.commit()
        except OSError as error:
            self._files.refuse("copy", digest, error)
        finally:
            os.close(source)

    def _take(self, path: str, descriptor: int, status: os.stat_result) -> Digest:
        hasher = blake3()
        size_bytes = 0
        while data := os.read(descriptor, READ_BYTES):
            hasher.update(data)
            size_bytes += len(data)
            self._paused(data)
        digest = Digest(hasher.digest(), size_bytes)
        if self.contains(digest):
            os.unlink(path)
            return digest
        location = self._files.location(digest.hash)
        try:
            self._files.publish(descriptor, path, location)
            if os.lstat(location).st_ino != status.st_ino:
                os.unlink(location)
                raise BadInput(f"cannot store {path}: another file took its place meanwhile")
        except OSError as error:
            self._files.refuse("store", digest, error)
        return digest

    def _paused(self, data: bytes) -> None:
        if self._pause is not None and len(data) == READ_BYTES:
            self._pause()

    def _copy_in(self, descriptor: int, path: str) -> Digest:
        size_bytes = os.fstat(descriptor).st_size
        writer = BlobWriter(self._files, None)
        with writer:
            while True:
                try:
                    data = os.read(descriptor, READ_BYTES)
                except OSError as error:
                    raise StoreFailed(f"cannot store {path} ({size_bytes} B): {error.strerror}") from error
                if not data:
                    return writer.commit()
                writer.write(data)
                self._paused(data)

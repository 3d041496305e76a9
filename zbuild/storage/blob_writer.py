"""A blob on its way into a blob directory."""

from __future__ import annotations

import contextlib
import os
from typing import NoReturn

from blake3 import blake3

from zbuild.digest import Digest
from zbuild.errors import BlobCorrupt, StoreFailed
from zbuild.storage.blob_files import BlobFiles

_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class BlobWriter:
    """One blob on its way in, as a context manager: committed whole, or gone without a trace.

    Its file is made with the first write: thousands of fetches may wait for their bytes at once, and the usual
    limit is 1,024 descriptors.

    Args:
        digest: what the bytes must hash to; None takes whatever they hash to.
        path: another name than the digest's own, for the executable form.
        is_verified: the caller has hashed the very bytes that it writes.
    """

    def __init__(
        self, files: BlobFiles, digest: Digest | None, *, path: str | None = None, is_verified: bool = False
    ) -> None:
        self._files = files
        self._expected = digest
        self._path = path
        self._hasher = None if is_verified else blake3()
        self._written_bytes = 0
        self._temporary = files.scratch.new_path()
        self._descriptor = -1

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.abort()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. Raises BlobCorrupt as soon as there are more bytes than the digest says, StoreFailed."""
        self._written_bytes += len(data)
        if self._expected is not None and self._written_bytes > self._expected.size_bytes:
            raise BlobCorrupt(f"blob {self._expected.short} was sent with {self._written_bytes} B or more")
        if self._hasher is not None:
            self._hasher.update(data)
        rest = memoryview(data)
        try:
            self._open()
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            self._fail(error)

    def commit(self) -> Digest:
        """Verify and publish. Afterwards the writer is closed, whatever happened.

        Raises:
            BlobCorrupt: the bytes do not hash to the digest.
            StoreFailed: the disk refused.
        """
        try:
            self._open()
            digest = self._verified_digest()
            path = self._path or self._files.location(digest.hash)
            if self._path is not None or not self._files.has(digest):
                self._files.publish(self._descriptor, self._temporary, path)
                self._temporary = ""
            return digest
        except OSError as error:
            self._fail(error)
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop everything that was not committed. Harmless after commit."""
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        # It has its name after a commit. On a disk that refuses, the next start removes it.
        if self._temporary:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)

    def _open(self) -> None:
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._temporary, _NEW_FILE, 0o600)
            except FileNotFoundError:
                self._files.scratch.remake()
                self._descriptor = os.open(self._temporary, _NEW_FILE, 0o600)

    def _verified_digest(self) -> Digest:
        if self._hasher is None:
            assert self._expected is not None, "a caller that has verified knows the digest"
            return self._expected
        digest = Digest(self._hasher.digest(), self._written_bytes)
        if self._expected is not None and digest != self._expected:
            raise BlobCorrupt(f"blob {self._expected.short} was sent with the bytes of {digest.short}")
        return digest

    def _fail(self, error: OSError) -> NoReturn:
        if self._expected is not None:
            self._files.refuse("store", self._expected, error)
        reason = self._files.reason(error, self._written_bytes)
        raise StoreFailed(f"cannot store a file of {self._written_bytes} B or more: {reason}") from error

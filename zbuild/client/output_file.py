"""What comes home from the farm: bytes on their way into the build directory, whole or not at all."""

from __future__ import annotations

import contextlib
import os

from blake3 import blake3

from zbuild.digest import Digest, of_bytes
from zbuild.errors import BlobCorrupt, StoreFailed
from zbuild.limits import FILE_NAME_BYTES

PARTIAL_SUFFIX = ".zbuild-partial"
"""Ends the name that an output has until it is complete."""


def partial_path(path: str) -> str:
    """Where the output ``path`` lies until it is complete: beside it, under a name that is never too long."""
    directory, name = os.path.split(path)
    encoded = os.fsencode(name)
    if len(encoded) + len(PARTIAL_SUFFIX) > FILE_NAME_BYTES:
        name = blake3(encoded).hexdigest()
    return os.path.join(directory, name + PARTIAL_SUFFIX)


class MemorySink:
    """A blob that is wanted as bytes: what a command printed, a depfile."""

    def __init__(self, digest: Digest) -> None:
        self.data = b""
        self._digest = digest
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._pieces.append(data)

    def commit(self) -> None:
        """
        Raises:
            BlobCorrupt: the bytes have another hash.
        """
        self.data = b"".join(self._pieces)
        if blake3(self.data).digest() != self._digest.hash:
            raise BlobCorrupt(f"the store sent other bytes than {self._digest.short}")

    def abort(self) -> None:
        self._pieces.clear()


class FileSink:
    """A blob that becomes a file, which appears under its name only when it is complete.

    The partial file is made with the first byte: a warm build waits for the outputs of 2,000 edges at once, and
    the usual limit is 1,024 descriptors.

    Attributes:
        holds_marker: whether ``marker`` occurs in the bytes.
    """

    def __init__(self, digest: Digest, path: str, *, is_executable: bool, marker: bytes = b"") -> None:
        self.holds_marker = False
        self._digest = digest
        self._path = path
        self._marker = marker
        self._tail = b""
        self._hasher = blake3()
        self._partial = partial_path(path)
        self._mode = 0o777 if is_executable else 0o666
        self._descriptor = -1
        self._is_made = False

    def write(self, data: bytes) -> None:
        """
        Raises:
            StoreFailed: the disk refuses.
        """
        self._hasher.update(data)
        if self._marker and not self.holds_marker:
            self.holds_marker = self._marker in self._tail + data
            self._tail = data[-len(self._marker) :]
        rest = memoryview(data)
        try:
            self._open()
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise self._failure(error) from error

    def commit(self) -> None:
        """Check the bytes. The file keeps its partial name until ``publish``.

        Raises:
            BlobCorrupt: the bytes have another hash.
            StoreFailed: an empty file cannot be made.
        """
        try:
            self._open()
        except OSError as error:
            raise self._failure(error) from error
        os.close(self._descriptor)
        self._descriptor = -1
        if self._hasher.digest() != self._digest.hash:
            raise BlobCorrupt(f"the store sent other bytes than {self._digest.short} for {self._path}")

    def publish(self) -> None:
        """Give the file its name.

        Raises:
            StoreFailed: it cannot be renamed.
        """
        try:
            os.replace(self._partial, self._path)
        except OSError as error:
            raise self._failure(error) from error

    def abort(self) -> None:
        """Leave nothing behind."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._is_made:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._partial)

    def _open(self) -> None:
        if self._descriptor < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
            self._descriptor = os.open(self._partial, flags, self._mode)
            self._is_made = True

    def _failure(self, error: OSError) -> StoreFailed:
        return StoreFailed(f"cannot write {self._path}: {error.strerror}")


class FileSource:
    """A file of the user's, as the source of an upload."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file; none when it has become shorter or is gone."""
        try:
            with open(self._path, "rb") as file:
                file.seek(offset)
                return file.read(length)
        except FileNotFoundError:
            return b""


class BytesSource:
    """Bytes that are in no file."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


def make_symlink(target: str, path: str) -> None:
    """Make or replace a symlink in one step.

    Raises:
        StoreFailed: the disk refuses.
    """
    partial = partial_path(path)
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        os.symlink(target, partial)
        try:
            os.replace(partial, path)
        except OSError:
            os.unlink(partial)
            raise
    except OSError as error:
        raise StoreFailed(f"cannot make the symlink {path}: {error.strerror}") from error


def write_file(data: bytes, path: str) -> None:
    """Make or replace a file in one step; a symlink at ``path`` is replaced, not followed.

    Raises:
        StoreFailed: the disk refuses.
    """
    sink = FileSink(of_bytes(data), path, is_executable=False)
    try:
        sink.write(data)
        sink.commit()
        sink.publish()
    except StoreFailed:
        sink.abort()
        raise

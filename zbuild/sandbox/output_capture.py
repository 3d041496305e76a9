"""What one command writes to one stream: kept in memory while it is little, in a file when it is much."""

from __future__ import annotations

import os

from zbuild.limits import KIB, SPAWN_INLINE_OUTPUT_BYTES, SPAWN_OUTPUT_BYTES
from zbuild.sandbox.spawn_protocol import Captured

_READ_BYTES = 64 * KIB
"""The capacity of a pipe: pipe(7)."""

_FINAL_READS = 16
"""A pipe that is still not empty after so many reads is being filled by a process that outlived its command."""


class OutputCapture:
    """The reading end of a pipe and what came out of it.

    Attributes:
        descriptor: not blocking; -1 when closed.
        error: why output could not be kept; empty when all is well.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.error = ""
        self._path = path
        self._data = bytearray()
        self._size_bytes = 0
        self._file = -1

    @property
    def is_over_limit(self) -> bool:
        return self._size_bytes > SPAWN_OUTPUT_BYTES

    def read(self) -> bool:
        """Take what is there now, at most a pipe full. False when the stream has ended or is empty."""
        try:
            data = os.read(self.descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._close_pipe()
            return False
        self._keep(data)
        return True

    def finish(self) -> Captured:
        """Take the rest and close everything."""
        for _ in range(_FINAL_READS):
            if self.descriptor < 0 or not self.read():
                break
        self._close_pipe()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            return Captured(path=self._path, size_bytes=self._size_bytes)
        return Captured(data=bytes(self._data), size_bytes=self._size_bytes)

    def _keep(self, data: bytes) -> None:
        self._size_bytes += len(data)
        if self.error or self.is_over_limit:
            return
        try:
            if self._file >= 0:
                _write_all(self._file, data)
                return
            self._data += data
            if len(self._data) > SPAWN_INLINE_OUTPUT_BYTES:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o600)
                _write_all(self._file, self._data)
                self._data.clear()
        except OSError as error:
            self.error = f"cannot keep the output of the command in {self._path}: {error.strerror}"

    def _close_pipe(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _write_all(descriptor: int, data: bytes | bytearray) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]

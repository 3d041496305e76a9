"""A journal in a file: appended to with one write for each batch, and compacted by writing it anew.

No fsync for a batch. What is written survives the death of the process, however violent, because the kernel has
it; only a power cut or a crash of the kernel loses a tail. That tail costs runs of actions a second time, while
an fsync would stop the broker for 5 to 30 ms several times a second on an ordinary disk. A compacted journal is
synced before it replaces the old one: otherwise a power cut could leave an empty file in place of a good one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from zbuild.errors import StoreFailed
from zbuild.limits import JOURNAL_GROWTH, JOURNAL_MIN_BYTES
from zbuild.storage.journal_format import HEADER, JournalContent, first_checksum, framed, unframed


class JournalFile:
    """The journal at ``path``. Read it, then ``rewrite`` it with what it came to, then ``append``.

    Attributes:
        is_broken: a write has failed. Only a ``rewrite`` mends that; until then nothing is appended.
    """

    def __init__(self, path: str) -> None:
        self.is_broken = False
        self._path = path
        self._descriptor = -1
        self._checksum = first_checksum()
        self._bytes = 0
        self._compact_bytes = JOURNAL_MIN_BYTES

    def read(self) -> JournalContent:
        """What the file holds; nothing when there is none.

        Raises:
            StoreFailed: the disk refuses.
        """
        try:
            with open(self._path, "rb") as file:
                return unframed(file.read())
        except FileNotFoundError:
            return JournalContent((), first_checksum(), 0)
        except OSError as error:
            raise StoreFailed(f"cannot read the journal {self._path}: {error.strerror}") from error

    @property
    def is_due(self) -> bool:
        """Whether it is time to ``rewrite``."""
        return self.is_broken or self._bytes > self._compact_bytes

    def rewrite(self, payloads: Iterable[bytes]) -> None:
        """Replace everything by these records.

        Raises:
            StoreFailed: the disk refuses; the old file is as it was.
        """
        data, checksum = framed(payloads, first_checksum())
        temporary = self._path + ".new"
        descriptor = -1
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            _write_all(descriptor, HEADER + data)
            os.fsync(descriptor)
            os.replace(temporary, self._path)
        except OSError as error:
            self.is_broken = True
            if descriptor >= 0:
                os.close(descriptor)
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise StoreFailed(f"cannot write the journal {self._path}: {error.strerror}") from error
        self.close()
        self._descriptor = descriptor
        self._checksum = checksum
        self._bytes = len(HEADER) + len(data)
        self._compact_bytes = max(JOURNAL_MIN_BYTES, JOURNAL_GROWTH * self._bytes)
        self.is_broken = False

    def append(self, payloads: Iterable[bytes]) -> None:
        """Add records.

        Raises:
            StoreFailed: the disk refuses; what is on it still reads as a prefix of what was appended.
        """
        if self.is_broken:
            return
        data, checksum = framed(payloads, self._checksum)
        try:
            _write_all(self._descriptor, data)
        except OSError as error:
            self.is_broken = True
            raise StoreFailed(f"cannot write the journal {self._path}: {error.strerror}") from error
        self._checksum = checksum
        self._bytes += len(data)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]

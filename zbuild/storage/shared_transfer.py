"""The blob channel without a channel: for a peer that works in the store's own directory.

An embedded farm is one user on one machine. Sending each blob through three processes, and writing
it three times, cost 5 ms of CPU for each action; here a blob is written once and then linked.
"""

from __future__ import annotations

from collections.abc import Iterable

from zbuild.digest import Digest
from zbuild.errors import BlobCorrupt, BlobMissing, StoreFailed, ZbuildError
from zbuild.limits import BLOB_CHUNK_BYTES
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.transfer import (
    AbsentFound,
    Fetched,
    FetchFailed,
    Sink,
    Source,
    TransferEvent,
    Uploaded,
    UploadFailed,
)


class SharedTransfer:
    """Does what Transfer does, at once; the events wait to be taken."""

    def __init__(self, blobs: BlobDirectory) -> None:
        self._blobs = blobs
        self._events: list[TransferEvent] = []

    @property
    def has_events(self) -> bool:
        return bool(self._events)

    def find_missing(self, token: int, digests: Iterable[Digest]) -> None:
        """Answered by one AbsentFound with this token."""
        try:
            absent = tuple(digest for digest in digests if not self._blobs.contains(digest))
        except ZbuildError:
            absent = tuple(digests)
        self._events.append(AbsentFound(token, absent))

    def upload(self, digest: Digest, source: Source) -> None:
        """Answered by Uploaded or UploadFailed."""
        try:
            with self._blobs.writer(digest) as writer:
                offset = 0
                while offset < digest.size_bytes:
                    data = source.read(offset, min(BLOB_CHUNK_BYTES, digest.size_bytes - offset))
                    if not data:
                        raise BlobCorrupt(f"{digest.short} became shorter while it was being stored")
                    writer.write(data)
                    offset += len(data)
                writer.commit()
        except ZbuildError as error:
            self._events.append(UploadFailed(digest, error))
        except OSError as error:
            self._events.append(UploadFailed(digest, StoreFailed(f"cannot read {digest.short}: {error.strerror}")))
        else:
            self._events.append(Uploaded(digest))

    def fetch(self, digest: Digest, sink: Sink) -> None:
        """Answered by Fetched or FetchFailed."""
        try:
            offset = 0
            while offset < digest.size_bytes:
                data = self._read(digest, offset)
                sink.write(data)
                offset += len(data)
            sink.commit()
        except ZbuildError as error:
            sink.abort()
            self._events.append(FetchFailed(digest, error))
        else:
            self._events.append(Fetched(digest))

    def _read(self, digest: Digest, offset: int) -> bytes:
        """A corrupt blob is in quarantine now: it is not there, as a store would answer."""
        try:
            return self._blobs.read(digest, offset, BLOB_CHUNK_BYTES)
        except BlobCorrupt as error:
            raise BlobMissing(str(error)) from error

    def take_events(self) -> list[TransferEvent]:
        """What has happened since the last call."""
        events, self._events = self._events, []
        return events

    def flush_uses(self) -> None:
        """Let the store know which blobs are in use."""
        self._blobs.flush_uses()

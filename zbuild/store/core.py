"""The store's decisions: which parts of an upload fit. What it is asked for, BlobReader answers.

It holds no socket. The blobs themselves are reached through BlobDirectory, whose files are the
store's state.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from zbuild.digest import Digest
from zbuild.errors import ProtocolError, ZbuildError
from zbuild.limits import UPLOADS_PER_PEER
from zbuild.protocol.blob_messages import BlobFailure, BlobPart, FromStore, Put, Stored, ToStore
from zbuild.storage.blob_reader import BlobReader, ReadableBlobs


class Upload(Protocol):
    """A blob that is being written: committed under its digest or not at all."""

    def write(self, data: bytes) -> None: ...

    def commit(self) -> object: ...

    def abort(self) -> None: ...


class Blobs(ReadableBlobs, Protocol):
    """The blobs on disk. Each method raises a ZbuildError that names the blob."""

    def writer(self, digest: Digest) -> Upload: ...


class _OpenUpload:
    def __init__(self, upload: Upload) -> None:
        self.upload = upload
        self.received_bytes = 0
        self.is_idle = False


class StoreCore:
    """Answers requests, one reply each."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._uploads: dict[bytes, dict[Digest, _OpenUpload]] = {}
        self.counters: Counter[str] = Counter()
        self._reader = BlobReader(blobs, self.counters)

    def answer(self, peer: bytes, message: ToStore, data: list[bytes]) -> tuple[FromStore, list[bytes]]:
        """The reply to one decoded request, with its data frames.

        Raises:
            ProtocolError: the request asks for more than one reply can carry.
        """
        match message:
            case Put():
                return self._put(peer, message, data), []
            case _:
                return self._reader.answer(message)

    def sweep(self) -> None:
        """Drop the uploads that nothing was added to since the last sweep: their senders hold places for nothing."""
        for open_uploads in self._uploads.values():
            for digest, upload in list(open_uploads.items()):
                if upload.is_idle:
                    del open_uploads[digest]
                    upload.upload.abort()
                    self.counters["uploads_expired"] += 1
                upload.is_idle = True

    def disconnected(self, peer: bytes) -> None:
        """Drop what the peer had not finished sending."""
        for upload in self._uploads.pop(peer, {}).values():
            self.counters["uploads_aborted"] += 1
            upload.upload.abort()

    def _put(self, peer: bytes, message: Put, data: list[bytes]) -> Stored:
        failures: dict[Digest, BlobFailure] = {}
        for part, chunk in zip(message.parts, data, strict=True):
            if part.digest in failures:
                continue
            try:
                self._append(peer, part, chunk)
            except ZbuildError as error:
                self.counters["puts_failed"] += 1
                self._abort(peer, part.digest)
                failures[part.digest] = BlobFailure(part.digest, error.code, str(error))
        return Stored(message.request, tuple(failures.values()))

    def _append(self, peer: bytes, part: BlobPart, chunk: bytes) -> None:
        open_uploads = self._uploads.setdefault(peer, {})
        if part.offset == 0:
            self._abort(peer, part.digest)
            if len(open_uploads) >= UPLOADS_PER_PEER:
                raise ProtocolError(f"cannot store {part.digest.short}: {UPLOADS_PER_PEER} uploads are unfinished")
            open_uploads[part.digest] = _OpenUpload(self._blobs.writer(part.digest))
        upload = open_uploads.get(part.digest)
        if upload is None or upload.received_bytes != part.offset:
            raise ProtocolError(f"cannot store {part.digest.short}: a part from {part.offset} B does not continue it")
        upload.upload.write(chunk)
        upload.received_bytes += len(chunk)
        upload.is_idle = False
        if upload.received_bytes == part.digest.size_bytes:
            del open_uploads[part.digest]
            upload.upload.commit()
            self.counters["blobs_stored"] += 1
            self.counters["bytes_stored"] += part.digest.size_bytes

    def _abort(self, peer: bytes, digest: Digest) -> None:
        upload = self._uploads.get(peer, {}).pop(digest, None)
        if upload is not None:
            upload.upload.abort()

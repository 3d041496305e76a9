"""The peer's side of the blob channel: fetches and uploads under a credit window. No I/O of its own but the blobs'.

A peer has at most TRANSFER_WINDOW requests in flight, each with at most one chunk's worth of data, so neither
side ever buffers more than 8 MiB for the other. Small blobs share a request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

from zbuild.digest import Digest
from zbuild.errors import BlobCorrupt, BlobMissing, ProtocolError, StoreFailed, ZbuildError
from zbuild.limits import (
    BLOB_CHUNK_BYTES,
    BLOB_MESSAGE_PARTS,
    FIND_MISSING_DIGESTS,
    TRANSFER_TIMEOUT_S,
    TRANSFER_WINDOW,
)
from zbuild.protocol.blob_messages import (
    BlobPart,
    FindMissing,
    Get,
    Missing,
    Parts,
    Put,
    Stored,
    ToStore,
    decode_from_store,
    encode_header,
)


class Source(Protocol):
    """Where the bytes of an upload come from."""

    def read(self, offset: int, length: int) -> bytes: ...


class Sink(Protocol):
    """Where the bytes of a fetch go: written in order, then committed, or aborted.

    ``commit`` raises BlobCorrupt when the bytes do not have the digest.
    """

    def write(self, data: bytes) -> None: ...

    def commit(self) -> object: ...

    def abort(self) -> None: ...


class BlobChannel(Protocol):
    """A way to the store. Each call is answered later by one event."""

    def find_missing(self, token: int, digests: Iterable[Digest]) -> None:
        """Which of these does the store lack? Answered by AbsentFound."""

    def upload(self, digest: Digest, source: Source) -> None:
        """Answered by Uploaded or UploadFailed."""

    def fetch(self, digest: Digest, sink: Sink) -> None:
        """Answered by Fetched or FetchFailed."""


class Fetched(msgspec.Struct, frozen=True):
    """The blob is committed to its sink."""

    digest: Digest


class Uploaded(msgspec.Struct, frozen=True):
    """The blob is in the store."""

    digest: Digest


class AbsentFound(msgspec.Struct, frozen=True):
    """The answer to one ``find_missing``: those that the store does not have."""

    token: int
    digests: tuple[Digest, ...]


class FetchFailed(msgspec.Struct, frozen=True):
    """A fetch ended without its blob; ``error`` is ready to be shown."""

    digest: Digest
    error: ZbuildError


class UploadFailed(msgspec.Struct, frozen=True):
    """An upload ended without its blob. A fetch of the same blob may be under way: it is another transfer."""

    digest: Digest
    error: ZbuildError


TransferFailed = FetchFailed | UploadFailed
TransferEvent = Fetched | Uploaded | AbsentFound | TransferFailed


class _Fetch:
    """One fetch. A later one of the same digest is another: replies to the first do not concern it."""

    def __init__(self, digest: Digest, sink: Sink) -> None:
        self.digest = digest
        self.sink = sink
        self.asked_bytes = 0
        self.received_bytes = 0
        self.is_over = False


class _Upload:
    """One upload. A later one of the same digest is another."""

    def __init__(self, digest: Digest, source: Source) -> None:
        self.digest = digest
        self.source = source
        self.sent_bytes = 0
        self.is_cut_short = False
        self.is_over = False


class _Question:
    """One ``find_missing``: asked in pieces, answered at once."""

    def __init__(self, token: int, digests: tuple[Digest, ...]) -> None:
        self.token = token
        self.digests = digests
        self.absent: list[Digest] = []
        self.open_pieces = 0


class _Request(msgspec.Struct, frozen=True):
    """A request in flight, and what its parts are for, in their order."""

    message: ToStore
    sent_s: float
    fetches: tuple[_Fetch, ...] = ()
    uploads: tuple[_Upload, ...] = ()
    question: _Question | None = None


class Transfer:
    """All transfers of one peer. Feed ``receive``, send what ``outgoing`` yields, act on the events."""

    def __init__(self, timeout_s: float = TRANSFER_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._next_request = 1
        self._in_flight: dict[int, _Request] = {}
        self._fetches: dict[Digest, _Fetch] = {}
        self._to_fetch: deque[_Fetch] = deque()
        self._uploads: dict[Digest, _Upload] = {}
        self._to_upload: deque[_Upload] = deque()
        self._questions: dict[int, _Question] = {}
        self._to_ask: deque[tuple[_Question, tuple[Digest, ...]]] = deque()
        self._failed: list[TransferEvent] = []
        self.fetched_bytes = 0
        self.uploaded_bytes = 0

    def find_missing(self, token: int, digests: Iterable[Digest]) -> None:
        """Ask which blobs the store lacks. One AbsentFound with this token answers, whatever the number."""
        question = self._questions[token] = _Question(token, tuple(digests))
        for start in range(0, len(question.digests) or 1, FIND_MISSING_DIGESTS):
            question.open_pieces += 1
            self._to_ask.append((question, question.digests[start : start + FIND_MISSING_DIGESTS]))

    def fetch(self, digest: Digest, sink: Sink) -> None:
        """Fetch a blob into ``sink``. A digest may be fetched once at a time."""
        if digest in self._fetches:
            raise ValueError(f"{digest.short} is being fetched already")
        fetch = self._fetches[digest] = _Fetch(digest, sink)
        self._to_fetch.append(fetch)

    def upload(self, digest: Digest, source: Source) -> None:
        """Send a blob. An upload of the same digest that is under way serves for both."""
        if digest not in self._uploads:
            upload = self._uploads[digest] = _Upload(digest, source)
            self._to_upload.append(upload)

    def outgoing(self, now_s: float) -> Iterator[list[bytes]]:
        """The multipart messages that the window has room for. The caller sends each."""
        while len(self._in_flight) < TRANSFER_WINDOW:
            number = self._next_request
            made = self._next_question(number, now_s) or self._next_get(number, now_s) or self._next_put(number, now_s)
            if made is None:
                return
            self._next_request += 1
            request, data = made
            self._in_flight[number] = request
            yield [encode_header(request.message), *data]

    def receive(self, frames: list[bytes]) -> list[TransferEvent]:
        """Take in one reply of the store. One to a request that was given up says nothing any more.

        Raises:
            ProtocolError: the reply is malformed or answers nothing that was asked; the link is of no use
                after that, see ``reset``.
        """
        message, data = decode_from_store(frames)
        request = self._in_flight.pop(message.request, None)
        if request is None:
            if 0 < message.request < self._next_request:
                return []
            raise ProtocolError(f"the store answered request {message.request}, which was never made")
        match message:
            case Missing() if request.question is not None:
                return self._answered(message, request.question)
            case Parts() if isinstance(request.message, Get):
                return self._received(message, request.message.parts, request.fetches, data)
            case Stored() if isinstance(request.message, Put):
                return self._stored(message, request)
        raise ProtocolError(f"the store answered {type(request.message).__name__} with {type(message).__name__}")

    def expire(self, now_s: float) -> list[TransferEvent]:
        """Fail everything if a request waited longer than ``timeout_s``; tell of sources that could not be read."""
        events, self._failed = self._failed, []
        if any(now_s - request.sent_s > self._timeout_s for request in self._in_flight.values()):
            events += self.reset(f"the store did not answer for {self._timeout_s:g} s")
        return events

    def next_deadline_s(self) -> float | None:
        """When ``expire`` is due; in the past when it has something to tell already."""
        if self._failed:
            return 0.0
        return min((request.sent_s + self._timeout_s for request in self._in_flight.values()), default=None)

    def reset(self, reason: str) -> list[TransferEvent]:
        """Fail everything: the link to the store has failed. A question is answered with all that it names."""
        error = StoreFailed(reason)
        events, self._failed = self._failed, []
        events += [self._fail_fetch(fetch, error) for fetch in list(self._fetches.values())]
        events += [self._fail_upload(upload, error) for upload in list(self._uploads.values())]
        events += [AbsentFound(question.token, question.digests) for question in self._questions.values()]
        self._to_fetch.clear()
        self._to_upload.clear()
        self._to_ask.clear()
        self._questions.clear()
        self._in_flight.clear()
        return events

    def restart(self) -> None:
        """Ask again for all that is in flight, because the store has been started anew and knows nothing of it."""
        for request in self._in_flight.values():
            if isinstance(request.message, FindMissing) and request.question is not None:
                self._to_ask.append((request.question, request.message.digests))
        self._in_flight.clear()
        for fetch in self._fetches.values():
            fetch.asked_bytes = fetch.received_bytes
            if fetch not in self._to_fetch:
                self._to_fetch.append(fetch)
        for upload in self._uploads.values():
            upload.sent_bytes = 0
            upload.is_cut_short = False
            if upload not in self._to_upload:
                self._to_upload.append(upload)

    def _next_question(self, number: int, now_s: float) -> tuple[_Request, list[bytes]] | None:
        if not self._to_ask:
            return None
        question, digests = self._to_ask.popleft()
        return _Request(FindMissing(number, digests), now_s, question=question), []

    def _next_get(self, number: int, now_s: float) -> tuple[_Request, list[bytes]] | None:
        parts: list[BlobPart] = []
        fetches: list[_Fetch] = []
        room_bytes = BLOB_CHUNK_BYTES
        while self._to_fetch and len(parts) < BLOB_MESSAGE_PARTS and (room_bytes > 0 or not parts):
            fetch = self._to_fetch[0]
            length = min(fetch.digest.size_bytes - fetch.asked_bytes, room_bytes)
            parts.append(BlobPart(fetch.digest, fetch.asked_bytes, length))
            fetches.append(fetch)
            fetch.asked_bytes += length
            room_bytes -= length
            if fetch.asked_bytes == fetch.digest.size_bytes:
                self._to_fetch.popleft()
        return (_Request(Get(number, tuple(parts)), now_s, fetches=tuple(fetches)), []) if parts else None

    def _next_put(self, number: int, now_s: float) -> tuple[_Request, list[bytes]] | None:
        parts: list[BlobPart] = []
        frames: list[bytes] = []
        uploads: list[_Upload] = []
        room_bytes = BLOB_CHUNK_BYTES
        while self._to_upload and len(parts) < BLOB_MESSAGE_PARTS and (room_bytes > 0 or not parts):
            upload = self._to_upload[0]
            length = min(upload.digest.size_bytes - upload.sent_bytes, room_bytes)
            try:
                data = upload.source.read(upload.sent_bytes, length)
            except (ZbuildError, OSError) as error:
                self._failed.append(self._fail_upload(upload, _as_zbuild_error(upload.digest, error)))
                continue
            parts.append(BlobPart(upload.digest, upload.sent_bytes, len(data)))
            frames.append(data)
            uploads.append(upload)
            upload.sent_bytes += len(data)
            room_bytes -= len(data)
            upload.is_cut_short = len(data) < length
            if upload.is_cut_short or upload.sent_bytes == upload.digest.size_bytes:
                self._to_upload.popleft()
        return (_Request(Put(number, tuple(parts)), now_s, uploads=tuple(uploads)), frames) if parts else None

    def _answered(self, message: Missing, question: _Question) -> list[TransferEvent]:
        question.absent.extend(message.digests)
        question.open_pieces -= 1
        if question.open_pieces:
            return []
        del self._questions[question.token]
        return [AbsentFound(question.token, tuple(question.absent))]

    def _received(
        self, message: Parts, wanted: tuple[BlobPart, ...], fetches: tuple[_Fetch, ...], data: list[bytes]
    ) -> list[TransferEvent]:
        events: list[TransferEvent] = []
        asked = {fetch.digest: fetch for fetch in fetches}
        for failure in message.failures:
            fetch = asked.pop(failure.digest, None)
            if fetch is not None and not fetch.is_over:
                events.append(self._fail_fetch(fetch, _FETCH_ERRORS.get(failure.code, StoreFailed)(failure.message)))
        for part, chunk in zip(message.parts, data, strict=True):
            fetch = asked.pop(part.digest, None)
            if fetch is None or part not in wanted:  # of a part that is too short nobody would ask for the rest
                self._failed += events  # what has ended by now is told by the reset that follows
                raise ProtocolError(f"the store sent a part of {part.digest.short} that was not asked for")
            if not fetch.is_over:
                events.extend(self._append(fetch, part.offset, chunk))
        for fetch in asked.values():
            if not fetch.is_over:
                events.append(self._fail_fetch(fetch, StoreFailed(f"the store left out {fetch.digest.short}")))
        return events

    def _append(self, fetch: _Fetch, offset: int, chunk: bytes) -> list[TransferEvent]:
        if offset != fetch.received_bytes:
            text = f"the store sent {fetch.digest.short} from {offset} B, not from {fetch.received_bytes} B"
            return [self._fail_fetch(fetch, StoreFailed(text))]
        fetch.received_bytes += len(chunk)
        self.fetched_bytes += len(chunk)
        try:
            fetch.sink.write(chunk)
            if fetch.received_bytes < fetch.digest.size_bytes:
                return []
            fetch.sink.commit()
        except ZbuildError as error:
            return [self._fail_fetch(fetch, error)]
        fetch.is_over = True
        del self._fetches[fetch.digest]
        return [Fetched(fetch.digest)]

    def _fail_fetch(self, fetch: _Fetch, error: ZbuildError) -> FetchFailed:
        fetch.is_over = True
        del self._fetches[fetch.digest]
        if fetch in self._to_fetch:
            self._to_fetch.remove(fetch)
        fetch.sink.abort()
        return FetchFailed(fetch.digest, error)

    def _stored(self, message: Stored, request: _Request) -> list[TransferEvent]:
        failures = {failure.digest: failure for failure in message.failures}
        events: list[TransferEvent] = []
        for upload in request.uploads:
            if upload.is_over:
                continue
            failure = failures.get(upload.digest)
            if failure is not None:
                events.append(self._fail_upload(upload, StoreFailed(failure.message)))
            elif upload.is_cut_short:
                text = f"{upload.digest.short} became shorter while it was being sent"
                events.append(self._fail_upload(upload, BlobCorrupt(text)))
            elif _holds_end(request.message, upload.digest):
                upload.is_over = True
                del self._uploads[upload.digest]
                self.uploaded_bytes += upload.digest.size_bytes
                events.append(Uploaded(upload.digest))
        return events

    def _fail_upload(self, upload: _Upload, error: ZbuildError) -> UploadFailed:
        upload.is_over = True
        del self._uploads[upload.digest]
        if upload in self._to_upload:
            self._to_upload.remove(upload)
        return UploadFailed(upload.digest, error)


_FETCH_ERRORS: dict[int, type[ZbuildError]] = {BlobMissing.code: BlobMissing, BlobCorrupt.code: BlobMissing}
"""What a store's failure to read a blob is for the peer. A corrupt blob is not served, so it is not there."""


def _holds_end(message: ToStore, digest: Digest) -> bool:
    """Whether a Put carries the last part of the blob."""
    parts = message.parts if isinstance(message, Put) else ()
    return any(part.digest == digest and part.offset + part.length == digest.size_bytes for part in parts)


def _as_zbuild_error(digest: Digest, error: ZbuildError | OSError) -> ZbuildError:
    return error if isinstance(error, ZbuildError) else StoreFailed(f"cannot read {digest.short}: {error.strerror}")

"""The worker's link to the store, shared by the greenlets of all slots."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from gevent.event import AsyncResult

from zbuild.digest import Digest
from zbuild.errors import ZbuildError
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.transfer import Fetched, FetchFailed, Transfer, TransferEvent, Uploaded, UploadFailed
from zbuild.transport.green import Wakeup
from zbuild.worker.arrivals import Arrivals

T = TypeVar("T")


class BlobLink:
    """Fetches and uploads for many greenlets at once; two that want one blob share its transfer.

    The greenlets only leave orders here and wait. The agent's greenlet, which owns the socket,
    feeds ``transfer`` and hands its events to ``settle``.

    Attributes:
        arrivals: the blobs on their way here, also from elsewhere.
    """

    def __init__(self, blobs: BlobDirectory, wakeup: Wakeup) -> None:
        self.transfer = Transfer()
        self._blobs = blobs
        self._wakeup = wakeup
        self.arrivals = Arrivals()
        self._uploads: dict[Digest, AsyncResult[None]] = {}

    def fetch(self, digests: Iterable[Digest]) -> None:
        """Wait until all of ``digests`` are in the worker's directory.

        Raises:
            BlobMissing, BlobCorrupt, StoreFailed: of the first that fails.
        """
        waiting = list(digests)
        while waiting:
            outcomes = [self.arrivals.join(digest, self._begin) for digest in waiting]
            # What a peer was to give and could not is asked of the store.
            came: list[bool] = self._wait(outcomes)
            waiting = [digest for digest, is_here in zip(waiting, came, strict=True) if not is_here]

    def upload(self, digests: Iterable[Digest]) -> None:
        """Wait until all of ``digests`` are in the store.

        Raises:
            StoreFailed, BlobCorrupt: of the first that fails.
        """
        outcomes = []
        for digest in digests:
            if digest not in self._uploads:
                self._uploads[digest] = AsyncResult()
                self.transfer.upload(digest, _BlobSource(self._blobs, digest))
            outcomes.append(self._uploads[digest])
        self._wait(outcomes)

    def settle(self, events: Iterable[TransferEvent]) -> None:
        """Wake the greenlets whose transfers have ended."""
        for event in events:
            match event:
                case Fetched():
                    self.arrivals.settle(event.digest, is_here=True)
                case Uploaded():
                    self._uploads.pop(event.digest).set(None)
                case FetchFailed():
                    self.arrivals.fail(event.digest, event.error)
                case UploadFailed():
                    self._uploads.pop(event.digest).set_exception(event.error)

    def _begin(self, digest: Digest) -> None:
        self.transfer.fetch(digest, self._blobs.writer(digest))

    def _wait(self, outcomes: list[AsyncResult[T]]) -> list[T]:
        self._wakeup.set()
        values: list[T] = []
        failed: ZbuildError | None = None
        for outcome in outcomes:
            try:
                values.append(outcome.get())
            except ZbuildError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return values


class _BlobSource:
    def __init__(self, blobs: BlobDirectory, digest: Digest) -> None:
        self._blobs = blobs
        self._digest = digest

    def read(self, offset: int, length: int) -> bytes:
        return self._blobs.read(self._digest, offset, length)

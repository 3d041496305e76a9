"""The worker's link to the store, shared by the greenlets of all slots."""

from __future__ import annotations

from collections.abc import Iterable

from gevent.event import AsyncResult

from zbuild.digest import Digest
from zbuild.errors import ZbuildError
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.transfer import Fetched, FetchFailed, Transfer, TransferEvent, Uploaded, UploadFailed
from zbuild.transport.green import Wakeup


class BlobLink:
    """Fetches and uploads for many greenlets at once; two that want one blob share its transfer.

    The greenlets only leave orders here and wait. The agent's greenlet, which owns the socket,
    feeds ``transfer`` and hands its events to ``settle``.
    """

    def __init__(self, blobs: BlobDirectory, wakeup: Wakeup) -> None:
        self.transfer = Transfer()
        self._blobs = blobs
        self._wakeup = wakeup
        self._fetches: dict[Digest, AsyncResult[None]] = {}
        self._uploads: dict[Digest, AsyncResult[None]] = {}

    def fetch(self, digests: Iterable[Digest]) -> None:
        """Wait until all of ``digests`` are in the worker's directory.

        Raises:
            BlobMissing, BlobCorrupt, StoreFailed: of the first that fails.
        """
        outcomes = []
        for digest in digests:
            if digest not in self._fetches:
                self._fetches[digest] = AsyncResult()
                self.transfer.fetch(digest, self._blobs.writer(digest))
            outcomes.append(self._fetches[digest])
        self._wait(outcomes)

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
                    self._fetches.pop(event.digest).set(None)
                case Uploaded():
                    self._uploads.pop(event.digest).set(None)
                case FetchFailed():
                    self._fetches.pop(event.digest).set_exception(event.error)
                case UploadFailed():
                    self._uploads.pop(event.digest).set_exception(event.error)

    def _wait(self, outcomes: list[AsyncResult[None]]) -> None:
        self._wakeup.set()
        failed: ZbuildError | None = None
        for outcome in outcomes:
            try:
                outcome.get()
            except ZbuildError as error:
                failed = failed or error
        if failed is not None:
            raise failed


class _BlobSource:
    def __init__(self, blobs: BlobDirectory, digest: Digest) -> None:
        self._blobs = blobs
        self._digest = digest

    def read(self, offset: int, length: int) -> bytes:
        return self._blobs.read(self._digest, offset, length)

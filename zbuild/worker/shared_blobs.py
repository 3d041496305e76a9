"""Blobs of a worker that works in the store's own directory: nothing has to be moved."""

from __future__ import annotations

from collections.abc import Iterable

from zbuild.digest import Digest
from zbuild.errors import BlobMissing
from zbuild.storage.blob_directory import BlobDirectory


class SharedBlobs:
    """The store's directory, as the executor's way to the store."""

    def __init__(self, blobs: BlobDirectory) -> None:
        self._blobs = blobs

    def fetch(self, digests: Iterable[Digest]) -> None:
        """Only called for blobs that were not there a moment ago.

        Raises:
            BlobMissing: one still is not.
        """
        for digest in digests:
            if not self._blobs.contains(digest):
                raise BlobMissing(f"blob {digest.short} is not in {self._blobs.path}")

    def upload(self, digests: Iterable[Digest]) -> None:
        """They are in the store since they were collected; their use is noted for its eviction."""
        del digests
        self._blobs.flush_uses()

"""The action cache as the broker uses it: results whose every blob the store still has."""

from __future__ import annotations

import os
from collections import Counter

from zbuild.digest import Digest
from zbuild.errors import StoreFailed
from zbuild.model.action import ActionId, ActionResult
from zbuild.storage.action_cache import ActionCache
from zbuild.storage.blob_directory import BlobDirectory


class PublishedResults:
    """Reads and writes the action cache, and checks blobs in the store's own directory.

    The broker looks at the directory instead of asking the store process: a stat costs 2 us, a
    question 150 us and a second state to keep.
    """

    def __init__(self, cache: ActionCache, blobs: BlobDirectory) -> None:
        self.counters: Counter[str] = Counter()
        self._cache = cache
        self._blobs = blobs

    def get(self, action: ActionId) -> ActionResult | None:
        """A result that can be served whole. One that has lost a blob is removed and counted."""
        try:
            result = self._cache.get(action)
            if result is None:
                return None
            if self.absent(result.blobs()):
                self.counters["hits_without_blobs"] += 1
                self._cache.remove(action)
                return None
        except StoreFailed:
            self.counters["cache_read_failed"] += 1
            return None
        return result

    def put(self, action: ActionId, result: ActionResult) -> None:
        """
        Raises:
            StoreFailed: the cache's file refuses.
        """
        self._cache.put(action, result)

    def absent(self, digests: list[Digest]) -> list[Digest]:
        """Those of ``digests`` that the store does not have, or that its disk cannot look for."""
        return [digest for digest in digests if not self._is_present(digest)]

    def _is_present(self, digest: Digest) -> bool:
        try:
            return self._blobs.contains(digest)
        except StoreFailed:
            self.counters["looks_failed"] += 1
            return False

    def entries(self) -> int:
        return self._cache.entries()

    def free_bytes(self) -> int:
        """Free space of the disk that the store is on; 0 when the disk does not answer."""
        try:
            space = os.statvfs(self._blobs.path)
        except OSError:
            self.counters["looks_failed"] += 1
            return 0
        return space.f_bavail * space.f_frsize

    def commit(self) -> None:
        """
        Raises:
            StoreFailed: the cache's file refuses; the results since the last commit are not published.
        """
        self._cache.commit()

    def close(self) -> None:
        self._cache.close()

"""The action cache and the store behind it, in memory, and able to lose what they hold."""

from __future__ import annotations

from random import Random

from zbuild.digest import Digest
from zbuild.errors import StoreFailed
from zbuild.model.action import ActionId, ActionResult


class MemoryStore:
    """Blobs by digest; their bytes are of no interest to the control plane."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, None] = {}

    def add(self, digest: Digest) -> None:
        self._blobs[digest] = None

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._blobs

    def lose_one(self, random: Random) -> Digest | None:
        """Lose a blob; which one it was."""
        if not self._blobs:
            return None
        digest = random.choice(list(self._blobs))
        del self._blobs[digest]
        return digest

    def lose(self, digest: Digest) -> None:
        self._blobs.pop(digest, None)


class MemoryResults:
    """What BrokerCore takes for the action cache. It outlives the broker, as a file does.

    Attributes:
        is_full: whether ``put`` is refused.
        puts: (action, whether it was there already) of each ``put``, until a checker takes them.
    """

    def __init__(self, store: MemoryStore) -> None:
        self.is_full = False
        self.results: dict[ActionId, ActionResult] = {}
        self.puts: list[tuple[ActionId, bool]] = []
        self._store = store

    def get(self, action: ActionId) -> ActionResult | None:
        """A result whose every blob is still there."""
        result = self.results.get(action)
        if result is not None and self.absent(result.blobs()):
            del self.results[action]
            return None
        return result

    def put(self, action: ActionId, result: ActionResult) -> None:
        """
        Raises:
            StoreFailed: the disk is full.
        """
        if self.is_full:
            raise StoreFailed("cannot write the action cache: disk full")
        self.puts.append((action, action in self.results))
        self.results[action] = result

    def absent(self, digests: list[Digest]) -> list[Digest]:
        return [digest for digest in digests if digest not in self._store]

    def entries(self) -> int:
        return len(self.results)

    def free_bytes(self) -> int:
        return 0 if self.is_full else 1 << 30

"""Which workers have changed lately, for readers that each keep their own place in the list."""

from __future__ import annotations

from typing import Generic, TypeVar

from zbuild.limits import WORKER_CHANGES

W = TypeVar("W")


class WorkerChanges(Generic[W]):
    """An endless list of which the last WORKER_CHANGES entries are kept, or the last half of those.

    Attributes:
        end: the position of the next entry; it counts all that there ever were.
    """

    def __init__(self) -> None:
        self.end = 0
        self._kept: list[W] = []

    def append(self, worker: W) -> None:
        self._kept.append(worker)
        self.end += 1
        if len(self._kept) > WORKER_CHANGES:
            del self._kept[: WORKER_CHANGES // 2]

    def since(self, position: int) -> list[W] | None:
        """The entries from ``position`` on; None when some of them are not kept any more."""
        count = self.end - position
        if count > len(self._kept):
            return None
        return self._kept[len(self._kept) - count :]

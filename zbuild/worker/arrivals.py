"""The blobs on their way into a worker's directory, from wherever they come."""

from __future__ import annotations

from collections.abc import Callable

from gevent.event import AsyncResult

from zbuild.digest import Digest
from zbuild.errors import ZbuildError


class Arrivals:
    """One transfer for each blob: whoever wants one that is on its way waits for that.

    An outcome is True when the blob is here, False when a peer could not give it, so that another source has to be
    asked, or the error of the farm's store.
    """

    def __init__(self) -> None:
        self._outcomes: dict[Digest, AsyncResult[bool]] = {}

    def join(self, digest: Digest, begin: Callable[[Digest], None]) -> AsyncResult[bool]:
        """What the transfer that is under way will come to; ``begin`` is called to start one if there is none."""
        outcome = self._outcomes.get(digest)
        if outcome is None:
            begin(digest)
            outcome = self._outcomes[digest] = AsyncResult()
        return outcome

    def settle(self, digest: Digest, is_here: bool) -> None:
        """A transfer has ended."""
        self._outcomes.pop(digest).set(is_here)

    def fail(self, digest: Digest, error: ZbuildError) -> None:
        """A transfer from the farm's store has failed, so that the blob cannot be had."""
        self._outcomes.pop(digest).set_exception(error)

"""Replies of a store that are part sense and part nonsense."""

from __future__ import annotations

import pytest

from tests.unit.storage.test_transfer import blob, fetch, reply, requests
from zbuild.errors import ProtocolError
from zbuild.protocol.blob_messages import BlobPart, Get, Parts
from zbuild.storage.transfer import Transfer


def test_what_came_before_the_nonsense_of_one_reply_is_told_when_the_link_is_reset() -> None:
    """Whoever waits for it would wait for ever: its fetch is over, and the reset knows nothing of it."""
    transfer = Transfer()
    (first, first_data), (second, second_data), (other, _) = (blob(number, 64) for number in range(3))
    for digest in (first, second):
        fetch(transfer, digest)
    ((request, _),) = requests(transfer)
    assert isinstance(request, Get)
    parts = (request.parts[0], BlobPart(other, 0, 64))
    with pytest.raises(ProtocolError, match="not asked for"):
        reply(transfer, Parts(request.request, parts, ()), first_data, second_data)
    told = {type(event).__name__: event.digest for event in transfer.reset("nonsense")}  # type: ignore[union-attr]  # no question was asked
    assert told == {"Fetched": first, "FetchFailed": second}

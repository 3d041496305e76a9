"""Transfers from a peer that is not trusted as the farm's store is: short answers, and a time-out of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from zbuild.digest import of_bytes
from zbuild.errors import ProtocolError
from zbuild.protocol.blob_messages import BlobPart, Get, Parts, decode_to_store, encode_header
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.transfer import FetchFailed, Transfer

DATA = b"0123456789"
DIGEST = of_bytes(DATA)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobDirectory:
    return BlobDirectory(tmp_path / "blobs", is_durable=False)


def test_a_part_of_another_extent_than_was_asked_for_is_refused(blobs: BlobDirectory) -> None:
    """The rest of a part that was too short was not asked for again, and the fetch waited for ever."""
    transfer = Transfer()
    transfer.fetch(DIGEST, blobs.writer(DIGEST))
    ((get, _),) = [decode_to_store(frames) for frames in transfer.outgoing(0.0)]
    assert isinstance(get, Get)
    with pytest.raises(ProtocolError, match="not asked for"):
        transfer.receive([encode_header(Parts(get.request, (BlobPart(DIGEST, 0, 9),), ())), DATA[:9]])
    (event,) = transfer.reset("the peer broke the protocol")
    assert isinstance(event, FetchFailed)
    assert not blobs.contains(DIGEST)


def test_the_time_out_is_the_callers(blobs: BlobDirectory) -> None:
    transfer = Transfer(2.0)
    transfer.fetch(DIGEST, blobs.writer(DIGEST))
    assert transfer.next_deadline_s() is None
    list(transfer.outgoing(100.0))
    assert transfer.next_deadline_s() == 102.0
    assert not transfer.expire(102.0)
    (event,) = transfer.expire(102.1)
    assert isinstance(event, FetchFailed)
    assert "did not answer for 2 s" in str(event.error)

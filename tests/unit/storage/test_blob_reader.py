"""What a reader answers over a real directory, and what it refuses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from zbuild.digest import Digest, of_bytes
from zbuild.errors import BlobMissing, ProtocolError
from zbuild.limits import BLOB_CHUNK_BYTES
from zbuild.protocol.blob_messages import BlobPart, FindMissing, Get, Missing, Parts, Put
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.blob_reader import BlobReader

DATA = bytes(range(256)) * 4
DIGEST = of_bytes(DATA)
LACKING = of_bytes(b"lacking")


@pytest.fixture
def counters() -> Counter[str]:
    return Counter()


@pytest.fixture
def reader(tmp_path: Path, counters: Counter[str]) -> BlobReader:
    blobs = BlobDirectory(tmp_path / "blobs", is_durable=False)
    blobs.put_bytes(DATA)
    return BlobReader(blobs, counters)


def test_a_question_is_answered_with_what_is_not_there(reader: BlobReader) -> None:
    assert reader.answer(FindMissing(7, (DIGEST, LACKING))) == (Missing(7, (LACKING,)), [])


def test_parts_are_sent_and_failures_named(reader: BlobReader, counters: Counter[str]) -> None:
    reply, frames = reader.answer(Get(3, (BlobPart(LACKING, 0, 7), BlobPart(DIGEST, 10, 20))))
    assert isinstance(reply, Parts)
    assert (reply.request, reply.parts, frames) == (3, (BlobPart(DIGEST, 10, 20),), [DATA[10:30]])
    assert [(failure.digest, failure.code) for failure in reply.failures] == [(LACKING, BlobMissing.code)]
    assert counters == {"bytes_sent": 20, "gets_failed": 1}


def test_more_than_a_chunk_is_refused(reader: BlobReader, counters: Counter[str]) -> None:
    huge = Digest(bytes(32), 4 * BLOB_CHUNK_BYTES)
    with pytest.raises(ProtocolError, match="more than"):
        reader.answer(Get(1, (BlobPart(huge, 0, BLOB_CHUNK_BYTES), BlobPart(DIGEST, 0, 1))))
    assert not counters


def test_nothing_can_be_put(reader: BlobReader) -> None:
    with pytest.raises(ProtocolError, match="Put of 1 parts to one who only serves"):
        reader.answer(Put(1, (BlobPart(LACKING, 0, 7),)))

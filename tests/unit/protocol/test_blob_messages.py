"""The bytes of the blob channel, and what is refused before anything acts on it."""

from __future__ import annotations

import msgpack
import pytest

from tests.unit.protocol.examples import DIGEST, FROM_STORE, TO_STORE
from zbuild.digest import EMPTY, Digest
from zbuild.errors import ProtocolError
from zbuild.limits import BLOB_MESSAGE_BYTES, BLOB_MESSAGE_PARTS, FIND_MISSING_DIGESTS
from zbuild.protocol.blob_messages import (
    BlobMessageType,
    BlobPart,
    FindMissing,
    FromStore,
    Get,
    Missing,
    Parts,
    Put,
    ToStore,
    decode_from_store,
    decode_to_store,
    encode_header,
)


def test_there_is_an_example_of_every_message() -> None:
    assert {value[0] for *_, value in [*TO_STORE, *FROM_STORE]} == set(BlobMessageType)


@pytest.mark.parametrize(("message", "data", "value"), TO_STORE)
def test_requests_are_plain_msgpack_with_raw_data(message: ToStore, data: list[bytes], value: list[object]) -> None:
    assert encode_header(message) == msgpack.packb(value)
    assert decode_to_store([msgpack.packb(value), *data]) == (message, data)
    with pytest.raises(ProtocolError):
        decode_from_store([msgpack.packb(value), *data])


@pytest.mark.parametrize(("message", "data", "value"), FROM_STORE)
def test_replies_are_plain_msgpack_with_raw_data(message: FromStore, data: list[bytes], value: list[object]) -> None:
    assert encode_header(message) == msgpack.packb(value)
    assert decode_from_store([msgpack.packb(value), *data]) == (message, data)
    with pytest.raises(ProtocolError):
        decode_to_store([msgpack.packb(value), *data])


@pytest.mark.parametrize(
    "digest", [Digest(b"", 5), Digest(bytes(31), 5), Digest(bytes(33), 5), Digest(bytes(32), -1)], ids=str
)
def test_what_is_no_digest_is_refused_everywhere(digest: Digest) -> None:
    """A store that looks up the empty hash would look at its own directory."""
    part = BlobPart(digest, 0, 0)
    for message in (FindMissing(1, (digest,)), Get(1, (part,))):
        with pytest.raises(ProtocolError, match="not a digest"):
            decode_to_store([encode_header(message)])
    with pytest.raises(ProtocolError, match="not a digest"):
        decode_to_store([encode_header(Put(1, (part,))), b""])
    with pytest.raises(ProtocolError, match="not a digest"):
        decode_from_store([encode_header(Missing(1, (digest,)))])
    with pytest.raises(ProtocolError, match="not a digest"):
        decode_from_store([encode_header(Parts(1, (part,), ())), b""])


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, 6), (3, 3), (0, -1), (5, 1), (2**62, 2**62)])
def test_a_part_outside_its_blob_is_refused(offset: int, length: int) -> None:
    for message in (Get(1, (BlobPart(DIGEST, offset, length),)), Put(1, (BlobPart(DIGEST, offset, length),))):
        with pytest.raises(ProtocolError, match="does not fit"):
            decode_to_store([encode_header(message), *([b"x" * 6] if isinstance(message, Put) else [])])


@pytest.mark.parametrize("data", [[], [b"byte"], [b"bytes!"], [b"bytes", b"more"]])
def test_data_that_does_not_match_its_parts_is_refused(data: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        decode_to_store([encode_header(Put(1, (BlobPart(DIGEST, 0, 5),))), *data])


def test_data_of_a_message_without_parts_is_refused() -> None:
    with pytest.raises(ProtocolError, match="1 data frames"):
        decode_to_store([encode_header(Get(1, ())), b"?"])


def test_the_number_of_frames_parts_and_digests_is_bounded() -> None:
    """The transport's bound is for each frame: twenty frames of 0.9 MB pass a limit of 1 MiB."""
    part = BlobPart(DIGEST, 0, 1)
    full = Put(1, (part,) * BLOB_MESSAGE_PARTS)
    assert decode_to_store([encode_header(full), *[b"x"] * BLOB_MESSAGE_PARTS])
    over = Put(1, (part,) * (BLOB_MESSAGE_PARTS + 1))
    with pytest.raises(ProtocolError):
        decode_to_store([encode_header(over), *[b"x"] * (BLOB_MESSAGE_PARTS + 1)])
    with pytest.raises(ProtocolError, match="parts"):
        decode_to_store([encode_header(Get(1, over.parts))])
    assert decode_to_store([encode_header(FindMissing(1, (DIGEST,) * FIND_MISSING_DIGESTS))])
    with pytest.raises(ProtocolError, match="digests"):
        decode_to_store([encode_header(FindMissing(1, (DIGEST,) * (FIND_MISSING_DIGESTS + 1)))])


@pytest.mark.parametrize(
    "frames", [[], [b""], [b"\xc0"], [b"x" * (BLOB_MESSAGE_BYTES + 1)], [b"\x93\x00\x01" + b"\x91" * 100_000]]
)
def test_nonsense_is_refused(frames: list[bytes]) -> None:
    for decode in (decode_to_store, decode_from_store):
        with pytest.raises(ProtocolError):
            decode(frames)


@pytest.mark.parametrize("data", [[], [b"byt"], [b"ytes", b"more"]])
def test_a_reply_whose_data_does_not_match_is_refused(data: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        decode_from_store([encode_header(Parts(1, (BlobPart(DIGEST, 1, 4),), ())), *data])


def test_the_empty_blob_is_a_blob() -> None:
    part = BlobPart(EMPTY, 0, 0)
    assert decode_to_store([encode_header(Get(1, (part,)))]) == (Get(1, (part,)), [])
    assert decode_from_store([encode_header(Parts(1, (part,), ())), b""]) == (Parts(1, (part,), ()), [b""])

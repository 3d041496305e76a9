"""The codec between worker and spawner: any cutting of the stream gives the same messages; lies are refused."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zbuild.errors import ProtocolError
from zbuild.limits import SPAWN_MESSAGE_BYTES
from zbuild.sandbox.spawn_protocol import Captured, Decoder, Exited, Kill, Release, Request, Spawn, encode

SPAWN = Spawn(
    id=7,
    argv=("/bin/true",),
    environment=(("A", "b"),),
    working_directory="/",
    stdout_path="/tmp/o",
    stderr_path=None,
    timeout_s=1.5,
    is_sandboxed=True,
)
EXITED = Exited(id=7, exit_code=137, is_killed=True, stdout=Captured(data=b"\xff", size_bytes=1))


def test_golden_bytes() -> None:
    assert encode(Kill(id=5)) == b"\x07\x00\x00\x00" + b"\x92\xa4kill\x05"


@given(
    st.lists(st.sampled_from([SPAWN, Release(id=7), Kill(id=2**40)]), max_size=6),
    st.lists(st.integers(1, 40), max_size=30),
)
def test_any_cutting_gives_the_same_messages(messages: list[Request], cuts: list[int]) -> None:
    stream = b"".join(map(encode, messages))
    decoder = Decoder[Request](Request)
    found: list[Request] = []
    for size in cuts:
        found += decoder.feed(stream[:size])
        stream = stream[size:]
    found += decoder.feed(stream)
    assert found == messages


def test_exited_round_trip() -> None:
    assert Decoder[Exited](Exited).feed(encode(EXITED)) == [EXITED]


def test_length_beyond_the_limit_is_refused_before_it_arrives() -> None:
    with pytest.raises(ProtocolError, match=str(SPAWN_MESSAGE_BYTES)):
        Decoder[Request](Request).feed(struct.pack("<I", SPAWN_MESSAGE_BYTES + 1))


def test_message_that_is_too_long_is_refused() -> None:
    long = msgspec.structs.replace(SPAWN, argv=("x" * SPAWN_MESSAGE_BYTES,))
    with pytest.raises(ProtocolError, match=str(SPAWN_MESSAGE_BYTES)):
        encode(long)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x92\xa5other\x01", b"\x92\xa4kill\xa1x", b"\x91\xa5spawn"])
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        Decoder[Request](Request).feed(struct.pack("<I", len(body)) + body)

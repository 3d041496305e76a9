"""The bytes of every message are what this version has always sent. Defect 4: two ends that frame differently."""

from __future__ import annotations

import re
from typing import get_args

import msgpack
import msgspec
import pytest

from tests.unit.protocol.examples import EXAMPLES, RESULT
from zbuild.errors import ProtocolError
from zbuild.limits import CONTROL_MESSAGE_BYTES, HEARTBEAT_BYTES
from zbuild.model.action import decode_result, encode_result
from zbuild.protocol import codec
from zbuild.protocol.message_type import MessageType
from zbuild.protocol.messages import (
    Cancel,
    HeartBeat,
    Refused,
    Shutdown,
    ToBroker,
    ToClient,
    ToWorker,
    WorkerState,
)
from zbuild.protocol.steal_messages import Announcement, StealAnswer, StealQuestion

CHANNELS: list[tuple[codec.Decoder[object], tuple[type, ...]]] = [
    (codec.to_broker, get_args(ToBroker)),  # type: ignore[list-item]  # each decodes a union of its own
    (codec.to_client, get_args(ToClient)),  # type: ignore[list-item]  # as above
    (codec.to_worker, get_args(ToWorker)),  # type: ignore[list-item]  # as above
    (codec.heartbeat, (HeartBeat,)),  # type: ignore[list-item]  # as above
    (codec.announcement, get_args(Announcement)),  # type: ignore[list-item]  # as above
    (codec.to_victim, get_args(StealQuestion)),  # type: ignore[list-item]  # as above
    (codec.to_thief, get_args(StealAnswer)),  # type: ignore[list-item]  # as above
]
DECODERS = [decoder for decoder, _ in CHANNELS]
DIRECTIONS = [direction for _, direction in CHANNELS]
NAMES = [type(message).__name__ for message, _ in EXAMPLES]


def test_there_is_an_example_of_every_message() -> None:
    assert {type(message) for message, _ in EXAMPLES} == set(get_args(codec.Encodable))
    assert {value[0] for _, value in EXAMPLES} == set(MessageType), "each type number is in use"
    assert len(EXAMPLES) == len(MessageType), "and once"


@pytest.mark.parametrize(("message", "value"), EXAMPLES, ids=NAMES)
def test_the_bytes_are_plain_msgpack_as_in_defect_4(message: codec.Encodable, value: list[object]) -> None:
    assert codec.encode(message) == msgpack.packb(value)
    assert msgpack.unpackb(codec.encode(message)) == value


@pytest.mark.parametrize(("message", "value"), EXAMPLES, ids=NAMES)
def test_a_message_is_taken_in_its_direction_and_in_no_other(message: codec.Encodable, value: list[object]) -> None:
    taken = 0
    for decoder, direction in zip(DECODERS, DIRECTIONS, strict=True):
        if isinstance(message, direction):
            taken += 1
            assert decoder.decode(msgpack.packb(value)) == message
        else:
            with pytest.raises(ProtocolError):
                decoder.decode(msgpack.packb(value))
    assert taken >= 1


@pytest.mark.parametrize(("message", "value"), EXAMPLES, ids=NAMES)
def test_every_truncation_is_refused(message: codec.Encodable, value: list[object]) -> None:
    data = codec.encode(message)
    for decoder in DECODERS:
        for length in range(len(data)):
            with pytest.raises(ProtocolError):
                decoder.decode(data[:length])


@pytest.mark.parametrize(("message", "value"), EXAMPLES, ids=NAMES)
def test_a_missing_element_is_refused_or_has_its_default(message: codec.Encodable, value: list[object]) -> None:
    """An older peer may lack trailing elements that have a default, and no others."""
    required = sum(field.required for field in msgspec.structs.fields(type(message)))
    for decoder, direction in zip(DECODERS, DIRECTIONS, strict=True):
        if isinstance(message, direction):
            for length in range(1, len(value)):
                if length - 1 < required:
                    with pytest.raises(ProtocolError):
                        decoder.decode(msgpack.packb(value[:length]))
                else:
                    decoder.decode(msgpack.packb(value[:length]))


@pytest.mark.parametrize(("message", "value"), EXAMPLES, ids=NAMES)
def test_elements_of_a_newer_peer_are_ignored(message: codec.Encodable, value: list[object]) -> None:
    for decoder, direction in zip(DECODERS, DIRECTIONS, strict=True):
        if isinstance(message, direction):
            assert decoder.decode(msgpack.packb([*value, "new"])) == message


@pytest.mark.parametrize(("message", "value"), EXAMPLES, ids=NAMES)
def test_every_message_says_what_losing_it_costs(message: codec.Encodable, value: list[object]) -> None:
    text = " ".join((type(message).__doc__ or "").split())
    role = "(broker|workers?|client|thief|victim|anyone)"
    assert re.search(f"{role} .*-> {role}|-> {role}", text)
    assert re.search(r"[Ll]osing (it|one|a report|the message) costs|latest wins", text), text


@pytest.mark.parametrize("number", [8, *range(11, 16), 33, 255, -1])
def test_an_unknown_type_is_refused(number: int) -> None:
    for decoder in DECODERS:
        with pytest.raises(ProtocolError):
            decoder.decode(msgpack.packb([number, 1, 2, 3]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0",
        b"\x80",
        b"\x90",
        b"\x91\xc0",
        msgpack.packb({"type": 24, "build": 1}),
        msgpack.packb([24, "five", False]),
        msgpack.packb([24, 5, 1]),
        msgpack.packb([24, 5, False]) + b"\x00",
        msgpack.packb([25, 5, [b"short"]]),
        msgpack.packb([25, 5, [bytes(33)]]),
        b"\x93\x19\x05\xdd\xff\xff\xff\xff",
        b"\x93\x18\x05" + b"\x91" * 100_000,
        b"\x92\x11\xa2\xff\xfe",
    ],
    ids=lambda data: data[:6].hex() or "nothing",
)
def test_nonsense_is_refused(data: bytes) -> None:
    for decoder in DECODERS:
        with pytest.raises(ProtocolError):
            decoder.decode(data)


def test_a_message_that_is_too_large_is_refused_by_both_ends() -> None:
    with pytest.raises(ProtocolError, match=r"Shutdown of .* larger than"):
        codec.encode(Shutdown(reason="x" * CONTROL_MESSAGE_BYTES))
    with pytest.raises(ProtocolError, match="larger than"):
        codec.to_worker.decode(msgpack.packb([6, "x" * CONTROL_MESSAGE_BYTES]))


def test_the_largest_message_passes() -> None:
    overhead = len(codec.encode(Refused(code=0, message="x" * 70_000))) - 70_000
    message = Refused(code=0, message="x" * (CONTROL_MESSAGE_BYTES - overhead))
    assert codec.to_client.decode(codec.encode(message)) == message


def test_a_heartbeat_is_below_its_bound_whatever_it_says() -> None:
    largest = HeartBeat(
        worker_id=2**64 - 1,
        incarnation=2**64 - 1,
        sequence=2**64 - 1,
        state=WorkerState.DRAINING,
        queue_depth=2**32,
        active_actions=2**32,
        cpu_usage=1 / 3,
        memory_usage=1 / 3,
        disk_usage=1 / 3,
        load_factor=1 / 3,
    )
    assert len(codec.encode(largest)) < HEARTBEAT_BYTES


def test_a_result_is_stored_as_it_is_sent() -> None:
    assert decode_result(encode_result(RESULT)) == RESULT


def test_an_enumeration_is_a_number_and_an_unknown_one_is_refused() -> None:
    with pytest.raises(ProtocolError):
        codec.to_broker.decode(msgpack.packb([0, 1, 9, "w", 3]))
    assert isinstance(codec.to_broker.decode(msgpack.packb([24, 5])), Cancel)

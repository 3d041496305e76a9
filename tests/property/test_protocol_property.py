"""Decoders under any bytes at all: a message of this version, or ProtocolError, and nothing else."""

from __future__ import annotations

import itertools

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.coordinator.driver import Farm, action
from tests.unit.protocol.examples import EXAMPLES, FROM_STORE, TO_STORE
from zbuild.errors import BadInput, ProtocolError
from zbuild.limits import BATCH_ACTIONS, BATCH_BYTES
from zbuild.model.action import decode_action, decode_header, decode_result
from zbuild.protocol import codec
from zbuild.protocol.batches import batches
from zbuild.protocol.blob_messages import decode_from_store, decode_to_store
from zbuild.protocol.messages import Message

ENCODED = [codec.encode(message) for message, _ in EXAMPLES]

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=20)
    | st.just(bytes(32)),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)

MUTATIONS = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6)


def decode_everywhere(data: bytes) -> list[Message]:
    """What each direction makes of the bytes; whatever is no message must be a ProtocolError."""
    found: list[Message] = []
    for decoder in (codec.to_broker, codec.to_client, codec.to_worker, codec.heartbeat):
        try:
            found.append(decoder.decode(data))
        except ProtocolError:
            continue
    return found


def mutated(data: bytes, mutations: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for position, value in mutations:
        changed[position % len(changed)] = value
    return bytes(changed)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    decode_everywhere(data)


@settings(max_examples=400)
@given(st.integers(-1, 40), st.lists(VALUES, max_size=11))
def test_any_values_behind_a_type_number(number: int, values: list[object]) -> None:
    decode_everywhere(msgpack.packb([number, *values]))


@settings(max_examples=400)
@given(st.sampled_from(ENCODED), MUTATIONS)
def test_a_damaged_message(data: bytes, mutations: list[tuple[int, int]]) -> None:
    decode_everywhere(mutated(data, mutations))


@settings(max_examples=200)
@given(st.sampled_from(ENCODED), MUTATIONS)
def test_what_can_be_decoded_can_be_sent(data: bytes, mutations: list[tuple[int, int]]) -> None:
    """The broker passes on what it was sent: that must never fail at the encoder."""
    for message in decode_everywhere(mutated(data, mutations)):
        sent = codec.encode(message)
        assert sent in [codec.encode(each) for each in decode_everywhere(sent)], "as bytes, for no NaN equals another"


@settings(max_examples=200)
@given(st.lists(st.sampled_from([*(value for *_, value in TO_STORE), *(value for *_, value in FROM_STORE)])), MUTATIONS)
def test_a_damaged_blob_message(values: list[list[object]], mutations: list[tuple[int, int]]) -> None:
    for value in values:
        frames = [mutated(msgpack.packb(value), mutations), b"bytes"]
        for decode in (decode_to_store, decode_from_store):
            for count in (1, 2):
                try:
                    decode(frames[:count])
                except ProtocolError:
                    continue


@given(st.binary(max_size=200) | st.lists(VALUES, max_size=13).map(msgpack.packb))
def test_any_bytes_as_an_action_or_a_result(data: bytes) -> None:
    for decode in (decode_action, decode_header, decode_result):
        try:
            decode(data)
        except BadInput:
            continue


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from([b"client", b"w1", b"w2", b"stranger"]), st.sampled_from(ENCODED), MUTATIONS))
)
def test_no_message_of_a_stranger_ends_the_broker(messages: list[tuple[bytes, bytes, list[tuple[int, int]]]]) -> None:
    """A broker with work in it takes damaged messages from everyone; all that it then says can be encoded."""
    farm = Farm()
    farm.join()
    farm.add_worker(b"w1", worker_id=1)
    farm.add_worker(b"w2", worker_id=2)
    farm.submit(*[action(str(number)) for number in range(6)])
    for peer, data, mutations in messages:
        try:
            message = codec.to_broker.decode(mutated(data, mutations))
        except ProtocolError as error:
            farm.core.undecodable(peer, error)
            sends = farm.dispatch()
        else:
            sends = farm.receive(peer, message)
        for send in sends:
            codec.encode(send.message)
    for send in farm.tick(60.0):
        codec.encode(send.message)


@given(st.lists(st.integers(0, 2 * BATCH_BYTES)))
def test_batches_keep_the_order_and_the_bounds(sizes: list[int]) -> None:
    cut = list(batches(sizes, lambda size: size))
    assert [size for batch in cut for size in batch] == sizes
    assert all(0 < len(batch) <= BATCH_ACTIONS for batch in cut)
    assert all(len(batch) == 1 or sum(batch) <= BATCH_BYTES for batch in cut)
    for batch, following in itertools.pairwise(cut):
        assert len(batch) == BATCH_ACTIONS or sum(batch) + following[0] > BATCH_BYTES

"""A journal that is torn, flipped or cut anywhere reads as a prefix of what was written, and its loss is told."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.coordinator.driver import BUILD, CLIENT, Farm, action, broken, failure, success
from zbuild.coordinator.journal import Ended, Granted, JournalState, Loss, Over, encode_record, replay
from zbuild.model.action import ActionResult, ResultStatus
from zbuild.protocol.messages import Cancel, LeaseId
from zbuild.storage.journal_format import HEADER, first_checksum, framed, unframed

TAIL_BYTES = 4096


def journal_of(payloads: list[bytes]) -> bytes:
    return HEADER + framed(payloads, first_checksum())[0]


def records(count: int) -> list[bytes]:
    """What a broker writes of ``count`` actions: granted, half of them lost once, some over."""
    written: list[bytes] = []
    for number in range(count):
        lease = LeaseId(number.to_bytes(32, "little"), 1, 77)
        written.append(encode_record(Granted(lease, number % 8, 1)))
        if number % 2:
            written.append(encode_record(Ended(lease, Loss(number % 8, 9))))
        if number % 3:
            written.append(encode_record(Over(lease.action)))
    return written


def test_a_journal_cut_at_any_byte_of_its_end_reads_as_a_prefix_and_says_what_is_lost() -> None:
    payloads = records(60)
    whole = journal_of(payloads)
    sizes = [len(journal_of(payloads[:count])) for count in range(len(payloads) + 1)]
    assert len(whole) > TAIL_BYTES
    for place in range(len(whole) - TAIL_BYTES, len(whole)):
        content = unframed(whole[:place])
        read = len(content.payloads)
        assert list(content.payloads) == payloads[:read]
        assert sizes[read] + content.lost_bytes == place
        assert sizes[read + 1] > place, "a record that is whole was not read"
        replay(content.payloads)


def test_a_flipped_bit_ends_the_journal_at_its_record() -> None:
    payloads = records(60)
    whole = journal_of(payloads)
    sizes = [len(journal_of(payloads[:count])) for count in range(len(payloads) + 1)]
    for place in range(len(whole) - TAIL_BYTES, len(whole)):
        content = unframed(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        read = len(content.payloads)
        assert list(content.payloads) == payloads[:read]
        assert sizes[read] <= place < sizes[read + 1]
        assert content.lost_bytes == len(whole) - sizes[read]


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(min_value=0, max_value=7))
def test_a_record_that_is_left_out_or_repeated_ends_the_journal(payloads: list[bytes], place: int) -> None:
    """As a disk does it that writes blocks late or twice."""
    pieces: list[bytes] = []
    checksum = first_checksum()
    for payload in payloads:
        piece, checksum = framed([payload], checksum)
        pieces.append(piece)
    place = min(place, len(pieces))
    assert unframed(HEADER + b"".join(pieces[:place] + pieces[place + 1 :])).payloads[:place] == tuple(payloads[:place])
    if place + 1 < len(pieces):
        without = unframed(HEADER + b"".join(pieces[:place] + pieces[place + 1 :]))
        assert without.payloads == tuple(payloads[:place])
    assert unframed(HEADER + b"".join(pieces)).payloads == tuple(payloads)


@given(st.binary(max_size=200))
def test_no_bytes_make_a_reader_fail(data: bytes) -> None:
    for content in (unframed(data), unframed(HEADER + data)):
        assert content.lost_bytes >= 0


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(1, 3)), max_size=40))
def test_a_compacted_journal_comes_to_the_same(steps: list[tuple[int, int, int]]) -> None:
    state = JournalState()
    for kind, number, attempt in steps:
        lease = LeaseId(bytes([number]) * 32, attempt, 77)
        state.apply((Granted(lease, 1, 1), Ended(lease, Loss(1, 9)), Over(lease.action))[kind])
    assert replay(encode_record(standing) for standing in state.standing()) == state


CANCELLED = ActionResult(status=ResultStatus.CANCELLED)
ACTIONS = [action(f"a{number}") for number in range(4)]
WORKERS = (b"w1", b"w2", b"w3")
STEPS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, len(ACTIONS) - 1), st.integers(0, len(WORKERS) - 1)), max_size=40
)


@settings(max_examples=60)
@given(STEPS)
def test_the_replay_of_a_journal_is_the_state_of_the_broker_whatever_happens(steps: list[tuple[int, int, int]]) -> None:
    """Farm compares the two after every step; here a next life begins now and then, with the replay alone."""
    farm = _joined(Farm(worker_timeout_s=20.0))
    for kind, number, position in steps:
        peer = WORKERS[position]
        session = farm.core.farm.registry.workers.get(peer)
        held = sorted(session.held) if session is not None else []
        holding = farm.core.farm.actions[held[number % len(held)]].holding_of(peer) if held else None
        match kind:
            case 0:
                farm.submit(ACTIONS[number], expected_s=2.0)
            case 1:
                farm.add_worker(peer, worker_id=position + 1, slots=1, incarnation=number + 1)
            case 2 if holding is not None:
                farm.complete(holding.lease, (success(), broken(), CANCELLED, failure())[number], peer)
            case 3:
                farm.disconnect(peer)
            case 4:
                farm.receive(CLIENT, Cancel(build=BUILD))
            case 5:
                farm.tick(farm.now_s + (0.5, 3.0, 12.0, 40.0)[number])
            case 6:
                state = replay(farm.journal)
                farm = _joined(Farm(former=state, epoch=farm.core.farm.epoch + 1, now_s=farm.now_s))
                assert replay(farm.journal) == state


def _joined(farm: Farm) -> Farm:
    farm.join()
    return farm

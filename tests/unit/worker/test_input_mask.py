"""Sets of inputs in one kilobyte."""

from __future__ import annotations

from tests.unit.worker.steal_driver import grant_with_inputs
from zbuild.digest import Digest, of_bytes
from zbuild.limits import INPUT_MASK_BYTES
from zbuild.model.action import InputSpec
from zbuild.worker.input_mask import absent, decode_mask, encode_mask, mask_of, mask_of_action


def digests(count: int, of: str = "a") -> list[Digest]:
    return [of_bytes(f"{of}{number}".encode()) for number in range(count)]


def test_what_is_in_a_set_is_never_absent() -> None:
    everything = mask_of(digests(500))
    assert absent(mask_of(digests(500)[100:120]), everything) == 0


def test_what_is_not_in_a_set_is_absent_but_for_a_sixth_at_1500_inputs() -> None:
    present = mask_of(digests(1500))
    others = [mask_of([each]) for each in digests(2000, of="b")]
    share = sum(absent(mask, present) == 0 for mask in others) / len(others)
    assert 0.12 < share < 0.22


def test_a_mask_goes_round() -> None:
    mask = mask_of(digests(20))
    assert len(encode_mask(mask)) == INPUT_MASK_BYTES
    assert decode_mask(encode_mask(mask)) == mask


def test_bytes_of_another_length_are_no_mask() -> None:
    assert decode_mask(b"") == decode_mask(b"\xff" * (INPUT_MASK_BYTES - 1)) == decode_mask(b"\xff" * 2000) == 0


def test_the_mask_of_an_action_is_that_of_its_inputs() -> None:
    found = digests(3)
    body = grant_with_inputs("a", tuple(InputSpec(f"/zb/{n}", digest) for n, digest in enumerate(found))).body
    assert mask_of_action(body) == mask_of(found)
    assert mask_of_action(b"no action") == 0

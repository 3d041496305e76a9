"""Actions by their bytes: equal ones have equal ids, and hostile bytes are refused as such."""

from __future__ import annotations

import msgpack
import msgspec
import pytest

from zbuild.digest import EMPTY, of_bytes
from zbuild.errors import BadInput
from zbuild.limits import RESULT_BYTES
from zbuild.model.action import (
    ACTION_FORMAT,
    Action,
    ActionHeader,
    ActionResult,
    InputSpec,
    OutputFile,
    OutputKind,
    OutputSpec,
    ResultStatus,
    action_id_of,
    decode_action,
    decode_header,
    decode_result,
    encode_action,
    encode_result,
    is_too_large,
    result_bytes,
)
from zbuild.model.capabilities import Capabilities

ACTION = Action(
    platform=(("os", "linux"),),
    sandbox="hermetic",
    capabilities=Capabilities(),
    arguments=("/bin/sh", "-c", "true"),
    environment=(("A", "b"),),
    working_directory="/zb/build",
    writable_root="/zb/build",
    inputs=(InputSpec("/zb/src/a.c", of_bytes(b"a")),),
    directories=("/zb/build/sub",),
    outputs=(OutputSpec("/zb/build/a.o"),),
)
BODY = encode_action(ACTION)[1]


def header_with(tail: bytes, name: bytes = msgpack.packb(ACTION_FORMAT)) -> bytes:
    """The bytes of a header, with something behind it that a header's reader skips."""
    return b"".join((b"\x96", name, b"\x90", b"\xa1x", b"\x90", b"\xc3", tail))


def test_an_action_is_the_hash_of_its_bytes() -> None:
    action_id, body = encode_action(ACTION)
    assert action_id == action_id_of(body)
    assert len(action_id) == 32
    assert decode_action(body) == ACTION
    assert encode_action(decode_action(body)) == (action_id, body)


@pytest.mark.parametrize("field", [field.name for field in msgspec.structs.fields(Action) if field.name != "format"])
def test_every_field_is_part_of_the_id(field: str) -> None:
    """Two actions that differ in anything must never share a cache entry."""
    old = getattr(ACTION, field)
    new = not old if isinstance(old, bool) else Capabilities(network=True) if field == "capabilities" else old + old
    assert encode_action(msgspec.structs.replace(ACTION, **{field: new}))[0] != encode_action(ACTION)[0]


def test_the_golden_bytes_of_an_action() -> None:
    """A change here makes every cache cold: then ACTION_FORMAT changes too."""
    assert msgpack.unpackb(BODY) == [
        "zbuild-action-4", [["os", "linux"]], "hermetic", [False, False, True, [], [], 0, 0, 600.0], True,
        ["/bin/sh", "-c", "true"], [["A", "b"]],
        "/zb/build", "/zb/build", [["/zb/src/a.c", list(of_bytes(b"a")), False]], ["/zb/build/sub"],
        [["/zb/build/a.o", False]], True,
    ]  # fmt: skip  # the fields in their order


def test_the_header_is_read_without_the_rest() -> None:
    assert decode_header(BODY) == ActionHeader(
        platform=(("os", "linux"),), sandbox="hermetic", capabilities=Capabilities()
    )
    assert decode_header(header_with(b"\xc0")).sandbox == "x"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc0",
        BODY[:-1],
        BODY + b"\x00",
        header_with(b"\x91" * 100_000),
        header_with(b"\xc0", name=b"\xa2\xff\xfe"),
        header_with(b"\xc0", name=b"\xaezbuild-action"),
        msgpack.packb(["zbuild-action-1", [], "hermetic", [], True]),
        msgpack.packb(["zbuild-action-4", [], "hermetic", "long", True]),
    ],
    ids=range(9),
)
def test_hostile_bytes_are_bad_input(body: bytes) -> None:
    """Deep nesting and bad UTF-8 come out of the decoder as errors of other kinds."""
    with pytest.raises(BadInput):
        decode_header(body)
    with pytest.raises(BadInput):
        decode_action(body)


def test_another_format_is_named() -> None:
    with pytest.raises(BadInput, match="'zbuild-action-1', but this zbuild runs 'zbuild-action-4'"):
        decode_header(msgpack.packb(["zbuild-action-1", [], "hermetic", [], True]))


@pytest.mark.parametrize("data", [b"", b"\x91\x09", b"\x93\x00\x00" + b"\x91" * 100_000, b"\x91\xa2\xff\xfe"])
def test_a_damaged_result_is_bad_input(data: bytes) -> None:
    with pytest.raises(BadInput):
        decode_result(data)


def test_the_blobs_of_a_result_are_its_files_and_what_was_printed() -> None:
    printed, made = of_bytes(b"warning"), of_bytes(b"object")
    result = ActionResult(
        status=ResultStatus.SUCCESS,
        outputs=(
            OutputFile("/zb/build/o", OutputKind.FILE, made),
            OutputFile("/zb/build/l", OutputKind.SYMLINK, EMPTY, target="o"),
        ),
        stdout=printed,
    )
    assert result.blobs() == [made, printed]


@pytest.mark.parametrize("name", ["plain", "\U0001f600" * 20, "é"])
def test_the_estimate_of_a_result_is_never_too_small(name: str) -> None:
    for count in (0, 1, 100):
        result = ActionResult(
            status=ResultStatus.ERROR,
            outputs=tuple(OutputFile(name, OutputKind.SYMLINK, EMPTY, target=name) for _ in range(count)),
            message=name,
            missing=(EMPTY,) * count,
            worker=name,
        )
        assert result_bytes(result) >= len(encode_result(result))


def test_a_result_is_too_large_by_its_bytes_and_not_by_the_estimate() -> None:
    def with_outputs(count: int) -> ActionResult:
        outputs = tuple(OutputFile(f"/zb/build/{number:070}", OutputKind.FILE, EMPTY) for number in range(count))
        return ActionResult(status=ResultStatus.SUCCESS, outputs=outputs)

    assert not is_too_large(with_outputs(20_000))
    assert result_bytes(with_outputs(20_000)) > RESULT_BYTES
    assert is_too_large(with_outputs(40_000))

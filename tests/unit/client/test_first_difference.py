"""Where two files differ first, and what stands there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from zbuild.client.byte_place import place_of
from zbuild.client.first_difference import FirstDifference, first_difference
from zbuild.client.verification_report import ReportedDifference
from zbuild.limits import DIFFERENCE_BLOCK_BYTES


def test_equal_bytes_have_none() -> None:
    assert first_difference(b"", b"") is None
    assert first_difference(b"same\0", memoryview(b"same\0")) is None


def test_a_text_is_shown_by_lines() -> None:
    assert first_difference(b"one\ntwo 1 x\nthree", b"one\ntwo 2 x\nthree") == FirstDifference(
        8, "line 2", "two 1 x", "two 2 x"
    )


def test_bytes_are_shown_as_digits() -> None:
    assert first_difference(b"\0\1\2\3", b"\0\1\7") == FirstDifference(2, "", "02 03", "07")


def test_the_end_of_one_file_is_a_difference() -> None:
    assert first_difference(b"\0\1", b"\0") == FirstDifference(1, "", "01", "")
    assert first_difference(b"a\n", b"a\nb\n") == FirstDifference(2, "line 2", "", "b")


@pytest.mark.parametrize("offset", [DIFFERENCE_BLOCK_BYTES - 1, DIFFERENCE_BLOCK_BYTES, 3 * DIFFERENCE_BLOCK_BYTES - 1])
def test_the_first_byte_is_found_in_whichever_block_it_lies(offset: int) -> None:
    same = bytearray(4 * DIFFERENCE_BLOCK_BYTES)
    other = bytearray(same)
    other[offset] = other[offset + 1] = 1
    found = first_difference(bytes(same), bytes(other))
    assert found is not None
    assert found.offset == offset


def test_what_a_command_wrote_does_not_reach_the_terminal() -> None:
    found = first_difference("a\u009b1".encode(), "a\u009b2".encode())
    assert found is not None
    report = ReportedDifference("o", "cmd", "o\x1b[2J", "content", ("w", "v"), (found.first, found.second), found)
    assert all(line.isprintable() for line in report.lines())


@pytest.mark.needs("gcc")
def test_sections_and_members_are_named(tmp_path: Path) -> None:
    for name in ("one", "a_name_that_is_longer_than_sixteen"):
        (tmp_path / f"{name}.c").write_text(f'char const text_{name}[] = "here it is"; int data_{name} = 0x11223344;\n')
        subprocess.run(["gcc", "-g", "-c", f"{name}.c", "-o", f"{name}.o"], cwd=tmp_path, check=True)
    members = ["one.o", "a_name_that_is_longer_than_sixteen.o"]
    subprocess.run(["ar", "rcs", "lib.a", *members], cwd=tmp_path, check=True)
    data, library = (tmp_path / "one.o").read_bytes(), (tmp_path / "lib.a").read_bytes()

    assert place_of(data, data.index(b"\x44\x33\x22\x11")) == "section .data"
    assert place_of(data, data.index(b"here it is")) == "section .rodata"
    assert place_of(data, 0) == ""
    assert place_of(library, library.index(b"here it is")) == "member one.o, section .rodata"
    assert place_of(library, library.rindex(b"here it is")) == f"member {members[1]}, section .rodata"
    assert place_of(library, library.index(b"one.o/")) == "header of member one.o"
    assert place_of(library, 70) == "member (symbol table)"


@pytest.mark.parametrize("data", [b"\x7fELF\x02\x01" + b"\xff" * 90, b"!<arch>\n" + b"\xff" * 90, b"\x7fELF\x02\x01"])
def test_files_that_only_look_like_it_have_no_places(data: bytes) -> None:
    assert place_of(data, 5) == ""

"""ELF files, thin archives and Meson's pickles, read without the tools that write them."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.inputs.pickles import pickled, unpickled
from zbuild.inputs import meson_data
from zbuild.inputs.elf import closure, expanded_search, read_elf
from zbuild.inputs.thin_archive import thin_members

needs_compiler = pytest.mark.needs("gcc")


def run(directory: Path, *argv: str) -> None:
    subprocess.run(argv, cwd=directory, check=True, capture_output=True)


def build_libraries(tmp_path: Path) -> None:
    """prog -> lib/liba.so -> lib/libb.so, found by RUNPATHs that are relative to each."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "b.c").write_text("int b(void) { return 0; }\n")
    (tmp_path / "a.c").write_text("int b(void); int a(void) { return b(); }\n")
    (tmp_path / "p.c").write_text("int a(void); int main(void) { return a(); }\n")
    run(tmp_path, "cc", "-shared", "-fPIC", "-Wl,-soname,libb.so.1", "-o", "lib/libb.so.1.2", "b.c")
    os.symlink("libb.so.1.2", tmp_path / "lib/libb.so.1")
    run(tmp_path, "cc", "-shared", "-fPIC", "-o", "lib/liba.so", "a.c", "lib/libb.so.1", "-Wl,-rpath,$ORIGIN")
    run(tmp_path, "cc", "-o", "prog", "p.c", "-Llib", "-la", "-Wl,-rpath,$ORIGIN/lib,--allow-shlib-undefined")


@needs_compiler
def test_a_programs_libraries_are_found_by_their_run_paths(tmp_path: Path) -> None:
    build_libraries(tmp_path)
    elf = read_elf(str(tmp_path / "prog"))
    assert elf is not None
    assert elf.needed[0] == "liba.so"
    assert elf.interpreter.startswith("/lib")
    assert expanded_search(elf, str(tmp_path / "prog")) == [str(tmp_path / "lib")]
    found = closure(str(tmp_path / "prog"))
    assert [os.path.relpath(path, tmp_path) for path in found if path.startswith(str(tmp_path))] == [
        *("prog", "lib/liba.so", "lib/libb.so.1")
    ]
    assert any(os.path.basename(path).startswith("libc.so") for path in found)


@needs_compiler
def test_a_librarys_own_name_is_read(tmp_path: Path) -> None:
    build_libraries(tmp_path)
    elf = read_elf(str(tmp_path / "lib/libb.so.1"))
    assert elf is not None
    assert (elf.soname, elf.interpreter) == ("libb.so.1", "")


def test_the_interpreter_that_runs_this_test_is_readable() -> None:
    elf = read_elf(os.path.realpath(sys.executable))
    assert elf is not None
    assert any(name.startswith("libc.so") for name in elf.needed)


@pytest.mark.parametrize("cut", [0, 4, 15, 63, 64, 100, 200, 4096])
def test_a_truncated_file_is_no_elf_and_no_crash(tmp_path: Path, cut: int) -> None:
    (tmp_path / "cut").write_bytes(Path("/bin/sh").read_bytes()[:cut])
    elf = read_elf(str(tmp_path / "cut"))
    assert elf is None or elf.needed == () or cut >= 200


@pytest.mark.parametrize("seed", range(20))
def test_hostile_headers_end(tmp_path: Path, seed: int) -> None:
    data = bytearray(Path("/bin/sh").read_bytes()[:65536])
    for position in range(16 + seed, 2000, 37):
        data[position] ^= 0xFF
    (tmp_path / "bad").write_bytes(data)
    closure(str(tmp_path / "bad"))


def test_scripts_and_other_files_are_no_elf(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("#!/bin/sh\n" + "x" * 100)
    assert read_elf(str(tmp_path / "s")) is None
    assert closure(str(tmp_path / "s")) == [str(tmp_path / "s")]


@needs_compiler
def test_members_of_a_thin_archive(tmp_path: Path) -> None:
    """Table: link with thin archives. Long names, short names, and members in other directories."""
    names = ["a.o", "sub/b.o", "sub/" + "c" * 40 + ".o", "d e.o"]
    (tmp_path / "sub").mkdir()
    for number, name in enumerate(names):
        (tmp_path / "x.c").write_text(f"int x{number};\n")
        run(tmp_path, "cc", "-c", "-o", name, "x.c")
    run(tmp_path, "ar", "qcsDT", "lib.a", *names)
    assert thin_members(str(tmp_path / "lib.a")) == names
    (tmp_path / "lib").mkdir()
    run(tmp_path, "ar", "qcsDT", "lib/lib.a", *names)
    assert thin_members(str(tmp_path / "lib/lib.a")) == [f"../{name}" for name in names]


@needs_compiler
def test_an_ordinary_archive_has_no_thin_members(tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text("int x;\n")
    run(tmp_path, "cc", "-c", "x.c")
    run(tmp_path, "ar", "qcs", "x.a", "x.o")
    assert thin_members(str(tmp_path / "x.a")) == []


@pytest.mark.parametrize(
    "tail", [b"", b"x" * 30, b"/" + b" " * 47 + b"notanumber`\n", b"a.o/" + b" " * 44 + b"9         `\n"]
)
def test_a_damaged_archive_ends(tmp_path: Path, tail: bytes) -> None:
    (tmp_path / "x.a").write_bytes(b"!<thin>\n" + tail)
    assert thin_members(str(tmp_path / "x.a")) in ([], ["a.o"])


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_the_strings_of_a_pickle_are_mapped_without_loading_it(protocol: int) -> None:
    value = {
        "cmd_args": ["/home/u/p/gen.py", "in", "x" * 300 + "/home/u/p", "in"],
        "env": {"\xc9": "/home/u/p/lib"},
        "number": 7,
        "padding": "p" * 100_000,
    }
    data = pickled(value, protocol)
    mapped = meson_data.mapped(data, lambda text: text.replace("/home/u/p", "/zb/src"))
    assert mapped is not None
    assert unpickled(mapped) == {
        **value,
        "cmd_args": ["/zb/src/gen.py", "in", "x" * 300 + "/zb/src", "in"],
        "env": {"\xc9": "/zb/src/lib"},
    }
    unchanged = meson_data.mapped(data, lambda text: text)
    assert unchanged is not None
    assert unpickled(unchanged) == value
    assert "/home/u/p/gen.py" in (meson_data.strings_in(data) or [])


def test_a_pickle_that_would_run_code_is_only_read(tmp_path: Path) -> None:
    """``os.mkdir(path)``, in protocol 0."""
    data = b"cos\nmkdir\n(X" + struct.pack("<I", len(f"{tmp_path}/x")) + f"{tmp_path}/x".encode() + b"tR."
    mapped = meson_data.mapped(data, lambda text: text + "y")
    assert mapped is not None
    assert f"{tmp_path}/xy".encode() in mapped
    assert meson_data.strings_in(data) is not None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "data", [b"", b"\x80", b"\x8c\xff", b"\x80\x04X\xff\xff\xff\xffabc", b"hello", struct.pack("<Q", 7)]
)
def test_what_is_no_pickle_is_refused(data: bytes) -> None:
    assert meson_data.mapped(data, str) is None
    assert meson_data.strings_in(data) is None

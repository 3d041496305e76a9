"""Roots: the same text in the user's and in the sandbox's spelling."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zbuild.errors import BadInput
from zbuild.inputs.roots import Roots

BELOW = Roots("/home/u/p", "/home/u/p/out/rel")
APART = Roots("/home/u/p", "/home/u/b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-I/home/u/p/include", "-I/zb/src/include"),
        ("-isystem/home/u/p", "-isystem/zb/src"),
        (r"-DX=\"/home/u/p\"", r"-DX=\"/zb/src\""),
        ("'-DX=/home/u/p/a b'", "'-DX=/zb/src/a b'"),
        ("@/home/u/p/out/rel/x.rsp", "@/zb/src/zb-build/zb-build/x.rsp"),
        ("-Wl,-rpath,/home/u/p/out/rel/lib:/usr/lib", "-Wl,-rpath,/zb/src/zb-build/zb-build/lib:/usr/lib"),
        ("/home/u/p/out/common.h", "/zb/src/zb-build/common.h"),
        ("-ffile-prefix-map=/home/u/p=.", "-ffile-prefix-map=/zb/src=."),
    ],
)
def test_absolute_paths_are_mapped_where_they_stand(text: str, expected: str) -> None:
    assert BELOW.map_command(text) == expected
    assert BELOW.unmap_output(expected.encode()).decode() == text


@pytest.mark.parametrize(
    "text",
    [
        "/home/u/pp/x",
        "/home/u/p-2/x",
        "/home/u/p.old",
        "/mnt/home/u/p/x",
        "../home/u/p",
        "/home/u",
        "p/x",
        "x/home/u/p",
    ],
)
def test_only_whole_components_are_mapped(text: str) -> None:
    assert BELOW.map_command(text) == text


def test_relative_paths_stay_when_the_build_directory_is_below_the_source() -> None:
    text = "gcc -I../../include -I. -Isub/../x -c ../../src/a.c -o a.o"
    assert BELOW.map_command(text) == text


def test_relative_paths_that_would_lead_elsewhere_are_spelled_anew() -> None:
    assert BELOW.map_command("../../out/rel/x.h") == "../../zb-build/zb-build/x.h"
    assert BELOW.map_command("../../../other/x.h") == "/home/u/other/x.h"
    assert APART.map_command("-I../p/include -c ../p/a.c") == "-I../src/include -c ../src/a.c"
    assert APART.map_command("../b/x ../../v/y") == "../build/x /home/v/y"


def test_climbing_to_the_system_needs_no_change() -> None:
    assert APART.map_command("../../../usr/include/x.h") == "../../../usr/include/x.h"


def test_relative_paths_are_seen_from_the_directory_of_the_command() -> None:
    assert APART.map_command("../p/a.c", "/home/u/b/sub") == "../p/a.c"
    assert APART.map_command("../../p/a.c", "/home/u/b/sub") == "../../src/a.c"
    assert BELOW.map_command("cmd out/rel/x", "/home/u/p") == "cmd zb-build/zb-build/x"


def test_diagnostics_come_back_in_the_users_spelling() -> None:
    output = b"In file included from ../src/a.h:3:\n/zb/build/gen.h:1:2: error: \xff\xfe\n"
    assert APART.unmap_output(output) == b"In file included from ../p/a.h:3:\n/home/u/b/gen.h:1:2: error: \xff\xfe\n"


def test_depfiles_escape_the_users_path_for_make() -> None:
    roots = Roots("/home/u/my $p", "/home/u/my $p/build")
    depfile = roots.unmap_depfile(b"a.o: /zb/src/a.c \\\n /zb/src/zb-build/x.h\n")
    assert depfile == b"a.o: /home/u/my\\ $$p/a.c \\\n /home/u/my\\ $$p/build/x.h\n"


def test_roots_with_spaces_are_found_quoted_and_escaped() -> None:
    roots = Roots("/home/u/my p", "/home/u/my p/build")
    assert roots.map_command(r'cc "/home/u/my p/a.c" -I/home/u/my\ p/inc') == 'cc "/zb/src/a.c" -I/zb/src/inc'


def test_paths_that_become_part_of_the_output_stay_the_users_own() -> None:
    text = r"cc -DDATA=\"/home/u/p/data\" -I/home/u/p/inc -Wl,-rpath,/home/u/p/out/rel/lib -DDIR=../../x"
    assert BELOW.map_command(text, keeps_paths=True) == (
        r"cc -DDATA=\"/home/u/p/data\" -I/zb/src/inc -Wl,-rpath,/home/u/p/out/rel/lib"
        r" -Wl,-rpath-link,/zb/src/zb-build/zb-build/lib -DDIR=../../x"
    )


def test_paths_map_there_and_back() -> None:
    for roots, user, canonical in (
        (BELOW, "/home/u/p", "/zb/src"),
        (BELOW, "/home/u/p/out", "/zb/src/zb-build"),
        (BELOW, "/home/u/p/out/rel", "/zb/src/zb-build/zb-build"),
        (BELOW, "/home/u/p/out/rel/a/b", "/zb/src/zb-build/zb-build/a/b"),
        (APART, "/home/u/b/a", "/zb/build/a"),
        (APART, "/opt/x/y.h", "/opt/x/y.h"),
    ):
        assert roots.to_canonical(user) == canonical
        assert roots.to_user(canonical) == user


def test_a_source_root_inside_the_build_directory_keeps_relative_paths() -> None:
    roots = Roots("/home/u/b/src", "/home/u/b")
    assert roots.to_canonical("/home/u/b/src/a.c") == "/zb/build/src/a.c"
    assert roots.map_command("cc -c src/a.c") == "cc -c src/a.c"


def test_an_in_source_build_has_one_root() -> None:
    roots = Roots("/home/u/p", "/home/u/p")
    assert (roots.canonical_build, roots.to_canonical("/home/u/p/a")) == ("/zb/src", "/zb/src/a")


def test_both_spellings_of_a_root_behind_a_symbolic_link_map(tmp_path: Path) -> None:
    (tmp_path / "real/build").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    roots = Roots(f"{tmp_path}/link", f"{tmp_path}/link/build")
    text = f"-I{tmp_path}/link/inc -I{tmp_path}/real/inc -I{tmp_path}/real/build"
    assert roots.map_command(text) == "-I/zb/src/inc -I/zb/src/inc -I/zb/src/zb-build"
    assert roots.to_user("/zb/src/a.c") == f"{tmp_path}/link/a.c"


def test_a_build_directory_that_is_a_link_elsewhere_is_apart(tmp_path: Path) -> None:
    """``..`` from it leads to where it really is, not into the sources."""
    (tmp_path / "src").mkdir()
    (tmp_path / "scratch/b").mkdir(parents=True)
    (tmp_path / "src/build").symlink_to(tmp_path / "scratch/b")
    roots = Roots(f"{tmp_path}/src", f"{tmp_path}/src/build")
    assert roots.canonical_build == "/zb/build"
    assert roots.map_command(f"-I{tmp_path}/src/build/gen ../x.c") == f"-I/zb/build/gen {tmp_path}/scratch/x.c"


def test_a_directory_that_has_the_canonical_name_already_is_not_mistaken_for_the_build(tmp_path: Path) -> None:
    (tmp_path / "zb-build").mkdir()
    (tmp_path / "build").mkdir()
    roots = Roots(str(tmp_path), f"{tmp_path}/build")
    assert roots.to_canonical(f"{tmp_path}/zb-build/x") != roots.to_canonical(f"{tmp_path}/build/x")


def test_without_canonical_names_everything_stays() -> None:
    roots = Roots("/home/u/p", "/home/u/b", is_canonical=False)
    text = "cc -I../p/include -c /home/u/p/a.c -o ../b/x.o"
    assert roots.map_command(text) == text
    assert roots.unmap_output(text.encode()) == text.encode()


@pytest.mark.parametrize(
    ("source", "build", "there"),
    [
        ("/home/u/source", "/home/u/build", ("/zb/source", "/zb/zb-build")),
        ("/home/u/work/p", "/home/u/out/p/rel", ("/zb/work/p", "/zb/zb-build/zb-build/zb-build")),
        ("/home/u/zb-build", "/home/u/b", ("/zb/zb-build", "/zb/zb-build_")),
    ],
)
def test_relative_paths_to_sources_beside_the_build_can_keep_their_text(
    source: str, build: str, there: tuple[str, str]
) -> None:
    roots = Roots(source, build, keeps_relative_paths=True)
    relative = os.path.relpath(f"{source}/lib/a.c", build)

    assert (roots.canonical_source, roots.canonical_build) == there
    assert roots.map_command(f"cc -I{source}/inc -c {relative}") == f"cc -I{there[0]}/inc -c {relative}"
    assert roots.unmap_output(f"{relative}:1: {there[0]}/x".encode()) == f"{relative}:1: {source}/x".encode()


@pytest.mark.parametrize("roots", [("/", "/b"), ("/s", "/"), ("s", "/b"), ("/s", "b"), ("/..", "/b")])
def test_impossible_roots_are_refused(roots: tuple[str, str]) -> None:
    with pytest.raises(BadInput, match="need an absolute path"):
        Roots(*roots)


def test_a_project_below_a_system_directory_is_no_part_of_the_system() -> None:
    roots = Roots("/usr/src/p", "/usr/src/p/b")
    assert roots.is_system("/usr/include/stdio.h")
    assert not roots.is_system("/usr/src/p/a.h")

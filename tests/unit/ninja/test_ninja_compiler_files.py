"""What compilers report: depfiles and /showIncludes."""

from __future__ import annotations

import pytest

from zbuild.errors import ManifestError
from zbuild.ninja.depfile import parse_depfile
from zbuild.ninja.show_includes import parse_show_includes


@pytest.mark.parametrize(
    ("text", "targets", "inputs"),
    [
        (
            "build/ninja.o: ninja.cc ninja.h eval_env.h manifest_parser.h\n",
            "build/ninja.o",
            "ninja.cc ninja.h eval_env.h manifest_parser.h",
        ),
        (" \\\n  out: in\n", "out", "in"),
        ("foo.o: \\\n  bar.h baz.h", "foo.o", "bar.h baz.h"),
        ("foo.o: \\\r\n  bar.h baz.h\r\n", "foo.o", "bar.h baz.h"),
        ("foo foo: x y\n", "foo", "x y"),
        ("foo bar: x y", "foo bar", "x y"),
        ("foo: x\nfoo: \nfoo:\n", "foo", "x"),
        ("foo: x\nfoo: y\\\n z\\\n\n", "foo", "x y z"),
        ("a.o: a.c a.h\na.h:\n", "a.o", "a.c a.h"),
        ("foo: x x y x\n", "foo", "x y"),
        ("a b : c\n", "a b", "c"),
        ("dir\\foo.o: C:\\x\\y\n", "dir\\foo.o", "C:\\x\\y"),
        ("Cargo!=1.2~{a,b}@[c]%(d)?\"'&+: ä\n", "Cargo!=1.2~{a,b}@[c]%(d)?\"'&+", "ä"),
        ("foo$$bar: a$$\n", "foo$bar", "a$"),
        ("a\\:b.o: c\\:d\n", "a:b.o", "c:d"),
        ("c:\\gcc\\x.o: d\\#e\n", "c:\\gcc\\x.o", "d#e"),
        ("foo\\: x\n", "foo\\", "x"),
        ("", "", ""),
        ("\n\n", "", ""),
        ("foo:\n", "foo", ""),
    ],
)
def test_depfiles(text: str, targets: str, inputs: str) -> None:
    found = parse_depfile(text.encode())
    assert (" ".join(found.targets), " ".join(found.inputs)) == (targets, inputs)


def test_spaces_in_depfiles() -> None:
    found = parse_depfile(b"a\\ bc\\ def: a\\\\\\ b c\\\\ d\n")
    assert found.targets == ["a bc def"]
    assert found.inputs == ["a\\ b", "c\\\\", "d"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo: x y\nx: z\n", "inputs may not also have inputs"),
        ("foo: x y\nx y: z\n", "inputs may not also have inputs"),
        ("foo.o foo.c\n", "expected ':' in depfile"),
    ],
)
def test_bad_depfiles(text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        parse_depfile(text.encode())


def test_included_files_are_taken_out_of_the_output() -> None:
    found = parse_show_includes(
        "foo.cc\r\nNote: including file: c:\\Program Files\\stdio.h\r\nNote: including file:   b/../a.h\r\n"
        "Note: including file: d.h\r\nNote: including file: d.h\r\nwarning: x\r\nbar.cc\n",
        "",
    )
    assert found.includes == ["a.h", "d.h"]
    assert found.output == "warning: x\nbar.cc\n"


def test_the_prefix_of_another_language() -> None:
    found = parse_show_includes("Hinweis: Einlesen: x.h\nNote: including file: y.h\n", "Hinweis: Einlesen:")
    assert found.includes == ["x.h"]
    assert found.output == "Note: including file: y.h\n"


@pytest.mark.parametrize("name", ["foo.c", "FOO.CC", "foo.cxx", "foo.cpp", "foo.c++"])
def test_the_echo_of_the_source_is_dropped_before_the_first_include(name: str) -> None:
    assert parse_show_includes(name + "\n", "").output == ""
    assert parse_show_includes("x.h\n", "").output == "x.h\n"

"""What one source file says about others."""

from __future__ import annotations

from pathlib import Path

import pytest

from zbuild.inputs.source_facts import (
    ASSEMBLED,
    CALLED,
    COMPUTED,
    EMBEDDED,
    NEXT,
    QUOTED,
    SourceFacts,
    SourceFactsStore,
    aliases_in,
    facts_of,
)


@pytest.mark.parametrize(
    ("text", "includes"),
    [
        ('#include "a.h"\n', [("a.h", QUOTED)]),
        ("#include <a/b.h>", [("a/b.h", 0)]),
        ('  #  include"a.h"', [("a.h", QUOTED)]),
        ('#include /* why */ "a.h" // that', [("a.h", QUOTED)]),
        ("/* x */ # /* y */ include <a.h>", [("a.h", 0)]),
        ('/* many\n lines */ #include "a.h"', [("a.h", QUOTED)]),
        ('#inc\\\nlude \\\r\n"a.h"', [("a.h", QUOTED)]),
        ("%:include <a.h>", [("a.h", 0)]),
        ("??=include <a.h>", [("a.h", 0)]),
        ("#include_next <a.h>", [("a.h", NEXT)]),
        ('#import "a.h"', [("a.h", QUOTED)]),
        ('#embed "a.bin" limit(4)', [("a.bin", QUOTED | EMBEDDED)]),
        ("#include MACRO", [("MACRO", COMPUTED)]),
        ("#include MACRO(x, y)", [("MACRO", CALLED)]),
        ('#if __has_include(<a.h>) && __has_include_next("b.h")', [("a.h", 0), ("b.h", NEXT | QUOTED)]),
        ("#if __has_include__ ( <a.h> )", [("a.h", 0)]),
        ('#if 0\n#include "a.h"\n#else\n#include "b.h"\n#endif', [("a.h", QUOTED), ("b.h", QUOTED)]),
        ('#include "a b.h"', [("a b.h", QUOTED)]),
        ('#include "\xe9.h"', [("\xe9.h", QUOTED)]),
        ('.include "a.inc"\n.incbin "b.bin", 4', [("a.inc", ASSEMBLED), ("b.bin", ASSEMBLED | EMBEDDED)]),
        (r'asm(".incbin \"b.bin\"\n");', [("b.bin", ASSEMBLED | EMBEDDED)]),
        ("/* see #include files in the manual */", []),
        (" * #include headers", []),
        ("#define include", []),
        ("int includes;", []),
    ],
)
def test_directives(text: str, includes: list[tuple[str, int]]) -> None:
    assert list(facts_of(text.encode()).includes) == includes


def test_names_that_are_not_utf8_survive() -> None:
    ((operand, _),) = facts_of(b'#include "\xff.h"').includes
    assert operand.encode("utf-8", "surrogateescape") == b"\xff.h"


def test_macros_that_name_headers() -> None:
    facts = facts_of(b'#define A "x.h"\n# define B <y/z.h> // c\n#define C D\n#define V "1 2"\n#define F(x) "q.h"\n')
    assert facts.defines == (("A", '"x.h"'), ("B", "<y/z.h>"))
    assert aliases_in(b"#define C D\n#define C \\\n E\n#define CC F\n", "C") == ["D", "E"]


@pytest.mark.parametrize(
    ("text", "macros"),
    [
        ("f(__DATE__, __TIME__);", ("__DATE__", "__TIME__")),
        ("x = __TIMESTAMP__;", ()),
        ('// __DATE__\n/* __TIME__\n */ s = "__DATE__";', ()),
        ("int my__DATE__x;", ()),
    ],
)
def test_the_time_is_seen_where_the_compiler_sees_it(text: str, macros: tuple[str, ...]) -> None:
    assert facts_of(text.encode()).time_macros == macros


def test_an_incbin_of_a_composed_name_is_unsure() -> None:
    assert facts_of(rb'asm(".incbin \"" FILE "\"");').unsure != ()
    assert facts_of(rb'.incbin "a"').unsure == ()


def test_facts_are_kept_by_content(tmp_path: Path) -> None:
    path = str(tmp_path / "facts")
    facts = SourceFacts((("a.h", QUOTED), ("\udcff", 0)), (("A", "<b>"),), ("__DATE__",), ("?",))
    store = SourceFactsStore(path)
    store.put(b"1" * 32, facts)
    store.save()
    assert SourceFactsStore(path).get(b"1" * 32) == facts
    assert SourceFactsStore(path).get(b"2" * 32) is None


def test_a_damaged_store_is_empty_and_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "facts"
    store = SourceFactsStore(str(path))
    store.put(b"1" * 32, SourceFacts())
    store.save()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    damaged = SourceFactsStore(str(path))
    assert damaged.get(b"1" * 32) is None
    damaged.put(b"2" * 32, SourceFacts())
    damaged.save()
    assert SourceFactsStore(str(path)).get(b"2" * 32) == SourceFacts()

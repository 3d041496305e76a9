"""Names of missing files in the messages of failed programs, as those programs write them."""

from __future__ import annotations

import pytest

from zbuild import limits
from zbuild.inputs.missing_inputs import missing_paths

MESSAGES = [
    ("/zb/src/a.c:3:10: fatal error: sub/x.h: No such file or directory\n    3 | #include <sub/x.h>", "/i/sub/x.h"),
    ("a.c:1:10: fatal error: 'x.h' file not found", "/i/x.h"),
    ("cc1: fatal error: a.c: No such file or directory", "/w/a.c"),
    ("gcc: error: a.c: No such file or directory", "/w/a.c"),
    ("clang: error: no such file or directory: 'a.c'", "/w/a.c"),
    ("x.S:4: Error: file not found: data.bin", "/w/data.bin"),
    ("x.S:4: Error: can't open inc/y.inc for reading: No such file or directory", "/i/inc/y.inc"),
    ("/usr/bin/ld: cannot find lib/x.a: No such file or directory", "/w/lib/x.a"),
    ("/usr/bin/ld: cannot find -lfoo: No such file or directory", "/i/libfoo.so"),
    ("/usr/bin/ld: cannot find -l:libfoo.a", "/i/libfoo.a"),
    ("/usr/bin/ld: cannot open linker script file x.ld: No such file or directory", "/w/x.ld"),
    ("ld.lld: error: cannot open a.o: No such file or directory", "/w/a.o"),
    ("ld.lld: error: unable to find library -lfoo", "/i/libfoo.so"),
    ("/usr/bin/ld: warning: libb.so, needed by liba.so, not found (try using -rpath)", "/i/libb.so"),
    ("prog: error while loading shared libraries: libb.so.1: cannot open shared object file", "/i/libb.so.1"),
    ("FileNotFoundError: [Errno 2] No such file or directory: '../data/x.json'", "/data/x.json"),
    ("FileNotFoundError: [Errno 2] No such file or directory: PosixPath('x')", "/w/x"),
    ("ModuleNotFoundError: No module named 'pkg.sub'", "/i/pkg/sub.py"),
    ("python3: can't open file '/zb/src/gen.py': [Errno 2] No such file or directory", "/zb/src/gen.py"),
    ("cat: x.txt: No such file or directory", "/w/x.txt"),
    ("cp: cannot stat 'x.txt': No such file or directory", "/w/x.txt"),
    ("cp: cannot stat \u2018x.txt\u2019: No such file or directory", "/w/x.txt"),
    ("/bin/sh: 1: ./tools/gen: not found", "/w/tools/gen"),
    ("sh: 0: cannot open gen.sh: No such file", "/w/gen.sh"),
    ("/bin/sh: 1: cannot open in.txt: No such file", "/w/in.txt"),
    ("bash: ./x.sh: No such file or directory", "/w/x.sh"),
    ('Can\'t open perl script "gen.pl": No such file or directory', "/w/gen.pl"),
    ("Can't locate My/Mod.pm in @INC (you may need to install the My::Mod module)", "/i/My/Mod.pm"),
    ("make: *** No rule to make target 'x.c', needed by 'x.o'.  Stop.", "/w/x.c"),
    (
        "CMake Error at x.cmake:1 (include):\n  include could not find requested file:\n\n    parts/y.cmake\n",
        "/i/parts/y.cmake",
    ),
    (
        "CMake Error at x.cmake:1 (file):\n  file failed to open for reading (No such file):\n\n    /zb/src/z\n",
        "/zb/src/z",
    ),
    ('error: couldn\'t read "x": cannot open file "schema.xsd"', "/w/schema.xsd"),
    ("a.c:1: error: x.y: No such file or directory", "/w/x.y"),
    ("x.asm:7: error: unable to open include file `macros.inc'", "/i/macros.inc"),
    ("x.asm:7: error: `incbin': unable to open file `data.bin'", "/w/data.bin"),
    ("google/protobuf/any.proto: File not found.", "/i/google/protobuf/any.proto"),
    ("error:\n  /s/two.fbs:1: 30: error: unable to load include file: one.fbs", "/i/one.fbs"),
    ("flex: can't open scan.l", "/w/scan.l"),
    ("sed: can't read a.txt: No such file or directory", "/w/a.txt"),
    ("x.gresource.xml: Failed to locate \u201cicons/a.png\u201d in any source directory.", "/i/icons/a.png"),
    ('warning: failed to load external entity "docs/a.xml"', "/w/docs/a.xml"),
    (
        "m: error: failed to read compiled module\nm: note: compiled module file is \u2018gcm.cache/m.gcm\u2019",
        "/w/gcm.cache/m.gcm",
    ),
    # Names with spaces in them, where the message has no quotes.
    ("a.c:1:10: fatal error: my dir/x y.h: No such file or directory", "/i/my dir/x y.h"),
    ("x.S:4: Error: file not found: my data.bin\nx.S:5: Error: x", "/w/my data.bin"),
    ("/usr/bin/ld: cannot find /a b/lib x.a: No such file or directory", "/a b/lib x.a"),
    ("sed: can't read my file.txt: No such file or directory", "/w/my file.txt"),
    ("cat: my file.txt: No such file or directory", "/w/my file.txt"),
    (
        "CMake Error at /a b/x.cmake:1 (include):\n  include could not find requested file:\n\n    /a b/y z.cmake\n",
        "/a b/y z.cmake",
    ),
    (
        "CMake Error at x.cmake:1 (file):\n  file failed to open for reading (No such file):\n\n    my data/z\n",
        "/w/my data/z",
    ),
]


@pytest.mark.parametrize(("message", "path"), MESSAGES)
def test_the_missing_file_is_named(message: str, path: str) -> None:
    assert path in missing_paths(message.encode(), "/w", ["/i"])


def test_colours_and_bytes_that_are_not_text_do_not_hide_it() -> None:
    output = b"a.c:1:10:\x1b[m\x1b[K \x1b[01;31m\x1b[Kfatal error: \x1b[m\x1b[Kx.h: No such file or directory\n\xff"
    assert "/w/x.h" in missing_paths(output, "/w", [])


def test_several_are_given_in_order_and_once() -> None:
    output = (
        b"cat: b: No such file or directory\ncat: a: No such file or directory\ncat: b: No such file or directory\n"
    )
    assert missing_paths(output, "/w", []) == ["/w/b", "/w/a"]


def test_an_ordinary_error_names_nothing_that_is_missing() -> None:
    output = b"a.c:3:5: error: 'x' undeclared (first use in this function)\n    3 |     x = 1;\n      |     ^\n"
    assert missing_paths(output, "/w", ["/i"]) == []


def test_the_answer_is_bounded() -> None:
    output = b"".join(b"cat: f%d: No such file or directory\n" % number for number in range(limits.MISSING_PATHS + 10))
    assert len(missing_paths(output, "/w", [])) == limits.MISSING_PATHS

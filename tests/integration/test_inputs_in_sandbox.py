"""What a command reads is found, and nothing else is there: the failure table of input discovery, one test each."""

from __future__ import annotations

import pytest

from tests.integration.tree import Tree, finish
from tests.live_processes import processes_naming
from tests.polling import wait_until

pytestmark = pytest.mark.needs("bubblewrap", "ninja", "gcc")


@pytest.fixture
def main_c(tree: Tree, token: str) -> Tree:
    """A program of one source that includes ``value.h``, which the test provides."""
    tree.write(
        {"main.c": f'#include <stdio.h>\n#include "value.h"\nint main(void) {{ printf("%d", VALUE); }} int t{token};\n'}
    )
    return tree


def test_a_generated_header_is_made_before_it_is_read_and_staged(main_c: Tree) -> None:
    main_c.write({"make_header.py": 'import sys\nopen(sys.argv[1], "w").write("#define VALUE 5\\n")\n'})
    main_c.manifest(
        """
        build value.h: sh | make_header.py
          cmd = python3 make_header.py value.h
        build main.o: cc main.c || value.h
          flags = -I.
        build app: link main.o
        """
    )
    run = main_c.zbuild()

    assert run.all_remote
    assert main_c.output_of("app") == "5"
    main_c.edit("make_header.py", "VALUE 5", "VALUE 6")
    assert main_c.zbuild().summary["actions"] == 3
    assert main_c.output_of("app") == "6"
    assert main_c.is_up_to_date()


def test_a_header_that_was_absent_when_first_looked_for_is_seen_once_generated(main_c: Tree, token: str) -> None:
    """A negative answer is dated: ``other.c`` is scanned while there is no value.h in the first directory yet."""
    main_c.write(
        {
            "late/value.h": "#define VALUE 1\n",
            "other.c": f'#include "value.h"\nint other = VALUE; int t{token};\n',
        }
    )
    main_c.manifest(
        """
        build other.o: cc other.c
          flags = -Igen -Ilate
        build gen/value.h: sh other.o
          cmd = mkdir -p gen && echo '#define VALUE 2' > gen/value.h
        build main.o: cc main.c || gen/value.h
          flags = -Igen -Ilate
        build app: link main.o
        """
    )
    assert main_c.zbuild().all_remote
    assert main_c.output_of("app") == "2"


def test_a_computed_include_is_followed(tree: Tree, token: str) -> None:
    tree.write(
        {
            "a.c": f'#define HERE "one.h"\n#include HERE\n#include FROM_FLAG\nint a = ONE + TWO; int t{token};\n',
            "one.h": "#define ONE 1\n",
            "sub/two.h": "#define TWO 2\n",
        }
    )
    tree.manifest("build a.o: cc a.c\n  flags = -Isub '-DFROM_FLAG=<two.h>'\n")

    assert tree.zbuild().all_remote


def test_a_response_file_reaches_the_command_and_takes_part_in_the_key(tree: Tree, token: str) -> None:
    tree.write({"a.c": f"int main(void) {{ return 0; }} int t{token};\n", "b.c": f"int b{token};\n"})
    manifest = """
        rule rsp_link
          command = gcc -o $out @$out.rsp
          rspfile = $out.rsp
          rspfile_content = $in_newline $extra
        build a.o: cc a.c
        build b.o: cc b.c
        build app: rsp_link a.o b.o
        """
    tree.manifest(manifest)
    assert tree.zbuild().all_remote
    assert not (tree.build / "app.rsp").exists()

    tree.manifest(manifest + "  extra = -s\n")
    run = tree.zbuild()

    assert (run.summary["actions"], run.summary["cache_hits"]) == (1, 0)


def test_a_forced_include_is_staged(tree: Tree, token: str) -> None:
    tree.write(
        {
            "a.c": f"int a = FORCED; int t{token};\n",
            "conf/forced.h": '#include "inner.h"\n',
            "conf/inner.h": "#define FORCED 1\n",
        }
    )
    tree.manifest("build a.o: cc a.c\n  flags = -include conf/forced.h\n")

    assert tree.zbuild().all_remote
    assert "conf/inner.h" in tree.ninja("-t", "deps", "a.o").stdout


def test_assembler_that_includes_binary_and_text_files(tree: Tree, token: str) -> None:
    tree.write(
        {
            "a.S": f"""
                #include "macros.h"
                .include "more.inc"
                .data
                .globl blob
                blob: .incbin "blob.bin"
                t{token}: .byte 1
                """,
            "macros.h": "#define UNUSED 1\n",
            "inc/more.inc": ".globl more\nmore: .byte 7\n",
            "blob.bin": "first contents",
        }
    )
    tree.manifest("build a.o: cc a.S\n  flags = -Iinc\n")
    assert tree.zbuild().all_remote
    assert b"first contents" in (tree.build / "a.o").read_bytes()


def test_a_header_edited_during_its_compile_leaves_the_edge_dirty_and_the_cache_right(main_c: Tree) -> None:
    main_c.write({"value.h": "#define VALUE 1\n", "!slow.sh": '#!/bin/sh\nsleep 1.5\nexec "$@"\n'})
    main_c.manifest(
        """
        rule slow
          command = ./slow.sh gcc -MD -MF $out.d -c $in -o $out
          depfile = $out.d
          deps = gcc
        build main.o: slow main.c | slow.sh
        build app: link main.o
        """
    )
    build = main_c.start("--json", "main.o")
    lock = main_c.build / ".ninja_lock"
    wait_until(lock.exists, "the compile to begin")
    wait_until(lambda: bool(processes_naming("slow.sh gcc")), "the compile to run")
    main_c.edit("value.h", "VALUE 1", "VALUE 2")
    assert finish(build).exit_code == 0

    assert not main_c.is_up_to_date()
    assert main_c.zbuild().exit_code == 0
    assert main_c.output_of("app") == "2"
    (main_c.build / "main.o").unlink()
    main_c.edit("value.h", "VALUE 2", "VALUE 1")
    main_c.zbuild()
    assert main_c.output_of("app") == "1"


def test_a_new_header_that_shadows_another_is_not_answered_from_the_cache(main_c: Tree) -> None:
    main_c.write({"second/value.h": "#define VALUE 2\n", "first/unrelated.h": ""})
    main_c.manifest("build main.o: cc main.c\n  flags = -Ifirst -Isecond\nbuild app: link main.o\n")
    main_c.zbuild()
    assert main_c.output_of("app") == "2"

    main_c.write({"first/value.h": "#define VALUE 1\n"})
    (main_c.build / "main.o").unlink()
    run = main_c.zbuild()

    assert run.summary["executed"] == 2
    assert main_c.output_of("app") == "1"


def test_has_include_is_answered_truthfully_and_again_when_the_file_appears(tree: Tree, token: str) -> None:
    tree.write(
        {
            "a.c": f"""
                #include <stdio.h>
                #if __has_include("maybe.h")
                #include "maybe.h"
                #else
                #define MAYBE 0
                #endif
                int main(void) {{ printf("%d", MAYBE); }} int t{token};
                """
        }
    )
    tree.manifest("build a.o: cc a.c\nbuild app: link a.o\n")
    tree.zbuild()
    assert tree.output_of("app") == "0"

    tree.write({"maybe.h": "#define MAYBE 3\n"})
    (tree.build / "a.o").unlink()
    tree.zbuild()

    assert tree.output_of("app") == "3"


def test_a_compiler_changed_in_place_is_another_compiler(tree: Tree, token: str) -> None:
    tree.write({"a.c": f"int a = WHICH; int t{token};\n", "!tools/mygcc": '#!/bin/sh\nexec gcc -DWHICH=1 "$@"\n'})
    tree.manifest(
        """
        rule own
          command = tools/mygcc -MD -MF $out.d -c $in -o $out
          depfile = $out.d
          deps = gcc
        build a.o: own a.c
        """
    )
    assert tree.zbuild().all_remote
    first = (tree.build / "a.o").read_bytes()
    (tree.build / "a.o").unlink()
    assert tree.zbuild().summary["cache_hits"] == 1

    tree.edit("tools/mygcc", "WHICH=1", "WHICH=2")
    (tree.build / "a.o").unlink()
    run = tree.zbuild()

    assert run.summary["executed"] == 1
    assert (tree.build / "a.o").read_bytes() != first


def test_march_native_means_this_machine_and_never_leaves_it_to_the_worker(tree: Tree, token: str) -> None:
    tree.write({"a.c": f"int a(int x) {{ return x * 3; }} int t{token};\n"})
    tree.manifest("build a.o: cc a.c\n  flags = -O2 -march=native -frecord-gcc-switches\n")

    run = tree.zbuild()

    assert run.exit_code == 0
    if run.summary["remote"]:
        assert b"-march=native" not in (tree.build / "a.o").read_bytes()
    else:
        assert list(run.summary["local_reasons"]) == [
            "tuned for this machine's CPU in a way the compiler does not spell out"
        ]


def test_a_precompiled_header_is_an_input_like_any_other(main_c: Tree) -> None:
    main_c.write({"value.h": "#define VALUE 8\n"})
    main_c.manifest(
        """
        rule pch
          command = gcc -x c-header -c $in -o $out
        build pch/value.h.gch: pch value.h
        build main.o: cc main.c | pch/value.h.gch
          flags = -Ipch -include value.h -Winvalid-pch -Werror
        build app: link main.o
        """
    )
    run = main_c.zbuild()

    assert run.all_remote, run.stderr
    assert main_c.output_of("app") == "8"


def test_mmd_leaves_out_system_headers_and_nothing_else(main_c: Tree) -> None:
    main_c.write({"value.h": "#define VALUE 1\n"})
    main_c.manifest(
        """
        rule mmd
          command = gcc -MMD -MF $out.d -c $in -o $out
          depfile = $out.d
          deps = gcc
        build main.o: mmd main.c
        """
    )
    assert main_c.zbuild().all_remote
    deps = main_c.ninja("-t", "deps", "main.o").stdout
    assert "value.h" in deps
    assert "stdio.h" not in deps


def test_an_undeclared_input_is_found_from_the_failure(tree: Tree, token: str) -> None:
    tree.write(
        {
            "gen.py": f"name = 'hid' + 'den.txt'\nprint(open(name).read(), file=open('out', 'w'))  # {token}\n",
            "hidden.txt": token,
        }
    )
    tree.manifest("build out: sh gen.py\n  cmd = python3 gen.py\n")

    run = tree.zbuild()

    assert run.all_remote
    assert run.summary["restaged"] == 1
    assert token in tree.text("out")


def test_what_cannot_be_found_from_the_failure_runs_here_with_its_reason(tree: Tree, token: str) -> None:
    tree.write({"secret": token})
    tree.manifest("build out: sh\n  cmd = cat $$(echo terces | rev) 2>/dev/null > out\n")

    run = tree.zbuild()

    assert run.exit_code == 0
    assert run.summary["local"] == 1
    assert len(run.summary["local_reasons"]) == 1
    assert tree.text("out").strip() == token


def test_a_file_that_no_edge_declares_is_not_there(tree: Tree, token: str) -> None:
    tree.write({"undeclared.txt": "x"})
    tree.manifest(f"build out: sh\n  cmd = ls > out; echo {token} >> out\n")

    assert tree.zbuild().all_remote
    assert tree.text("out").split() == ["out", token]

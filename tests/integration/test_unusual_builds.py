"""What real projects do beside compiling and linking, as unmodified ones were seen to do it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.integration.tree import Tree

pytestmark = pytest.mark.needs("bubblewrap", "ninja", "gcc")


def test_an_instrumented_program_finds_its_counters_where_it_was_built(tree: Tree, token: str) -> None:
    tree.write({"a.c": f"int main(void) {{ return 0; }} int t{token};\n"})
    tree.manifest("build a.o: cc a.c\n  flags = --coverage\nbuild app: link a.o\n  libs = --coverage\n")

    assert tree.zbuild().all_remote
    assert tree.output_of("app") == ""
    assert (tree.build / "a.gcda").is_file()
    report = subprocess.run(["gcov", "a.c"], cwd=tree.build, capture_output=True, text=True, check=True).stdout
    assert "Lines executed:100.00% of 1" in report


def test_compiled_modules_of_cxx_are_kept_and_found_though_nothing_names_them(tree: Tree, token: str) -> None:
    tree.write(
        {
            "inner.cpp": f"export module inner;\nexport int value() {{ return 7; }}\nint t{token};\n",
            "outer.cpp": "export module outer;\nexport import inner;\n",
            "main.cpp": "import outer;\nint main() { return value() - 7; }\n",
        }
    )
    tree.manifest(
        """
        rule cxx
          command = g++ -std=c++20 -fmodules-ts -c $in -o $out
        build inner.o: cxx inner.cpp
        build outer.o: cxx outer.cpp | inner.o
        build main.o: cxx main.cpp | outer.o
        build app: link main.o outer.o inner.o
          libs = -lstdc++
        """
    )

    assert tree.zbuild().all_remote
    assert tree.output_of("app") == ""
    shutil.rmtree(tree.build / "gcm.cache")
    (tree.build / "inner.o").unlink()
    (tree.build / "outer.o").unlink()
    again = tree.zbuild()
    assert (again.all_remote, again.summary["executed"]) == (True, 0)
    assert sorted(path.name for path in (tree.build / "gcm.cache").iterdir()) == ["inner.gcm", "outer.gcm"]


def test_a_generator_finds_the_shared_library_that_its_run_path_names(tree: Tree, token: str) -> None:
    """CMake links programs with the absolute path of the build directory."""
    tree.write(
        {
            "lib.c": f"int value(void) {{ return 7; }} int t{token};\n",
            "gen.c": """\
                #include <stdio.h>
                int value(void);
                int main(int count, char **words) { fprintf(fopen(words[1], "w"), "%d", value()); return count - 2; }
                """,
        }
    )
    tree.manifest(
        f"""
        rule shared
          command = gcc -shared -Wl,-soname,libvalue.so.1 -o $out $in
        build lib.o: cc lib.c
          flags = -fPIC
        build lib/libvalue.so.1: shared lib.o
        build gen.o: cc gen.c
        build gen: link gen.o lib/libvalue.so.1
          libs = -Wl,-rpath,{tree.build}/lib
        build value.txt: sh gen
          cmd = ./gen value.txt
        build linked_and_run: link gen.o lib/libvalue.so.1
          libs = -Wl,-rpath,{tree.build}/lib && ./linked_and_run /dev/null
        """
    )
    assert tree.zbuild().all_remote
    assert tree.text("value.txt") == "7"


def test_what_runs_after_a_link_may_read_what_no_line_names(tree: Tree, token: str) -> None:
    """CMake's POST_BUILD commands are part of the link's command line."""
    tree.write(
        {
            "a.c": f"int main(void) {{ return 0; }} int t{token};\n",
            "post.py": """\
                import os, sys
                sys.exit(open("post.txt", "w").write("found") != 5 if os.path.exists("se" + "cret") else "not here")
                """,
            "secret": "",
        }
    )
    tree.manifest(
        """
        rule link_and_run
          command = gcc -o $out $in && python3 post.py
        build a.o: cc a.c
        build app | post.txt: link_and_run a.o | post.py
        """
    )
    run = tree.zbuild()

    assert run.exit_code == 0, run.stderr
    assert tree.text("post.txt") == "found"
    assert sum(run.summary["local_reasons"].values()) == 1


def test_explain_says_which_edge_runs_here_and_why(tree: Tree) -> None:
    tree.manifest("build out.txt: sh\n  cmd = for x in 1 2; do echo $$x; done > out.txt\n")

    run = tree.zbuild("-d", "explain")

    assert "zbuild explain: out.txt runs here: shell syntax not analysed: for" in run.stderr


def test_a_cache_that_cannot_be_written_is_said_and_fails_no_build(tree: Tree, token: str) -> None:
    tree.write({"cache/file_digests/in the way": ""})
    tree.manifest(f"build a: sh\n  cmd = echo {token} > a\n")

    run = tree.zbuild("--cache-dir", "cache")

    assert run.all_remote
    assert f"not kept for the next build: {tree.build}/cache/file_digests" in run.stderr

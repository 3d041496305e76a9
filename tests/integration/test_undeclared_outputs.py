"""Files that a command makes and no edge declares: the build has them all the same, as with ninja."""

from __future__ import annotations

import shutil

import pytest

from tests.integration.tree import Tree

pytestmark = pytest.mark.needs("bubblewrap", "ninja", "gcc")

GENERATOR = """\
import os, sys
os.makedirs("gen/deep", exist_ok=True)
for name in ("one.h", "deep/two.h"):
    with open("gen/" + name, "w") as file:
        file.write("#pragma once\\n#define %s %s\\n" % (os.path.basename(name)[:3].upper(), sys.argv[1]))
os.symlink("one.h", "gen/link.h")
open("stamp", "w").close()
"""


@pytest.fixture
def stamped(tree: Tree, token: str) -> Tree:
    """A generator that declares its stamp alone, and a compile that waits for that."""
    tree.write(
        {
            "generate.py": GENERATOR,
            "main.c": '#include "gen/link.h"\n#include "gen/deep/two.h"\nint main(void) { return ONE - TWO; }\n',
        }
    )
    tree.manifest(
        f"""
        build stamp: sh generate.py
          cmd = /usr/bin/python3 generate.py {token}
        build main.o: cc main.c || stamp
          flags = -I.
        build app: link main.o
        """
    )
    return tree


def test_headers_behind_a_stamp_are_there_for_the_compile(stamped: Tree) -> None:
    run = stamped.zbuild()

    assert run.all_remote, run.stderr
    assert stamped.output_of("app") == ""
    assert (stamped.build / "gen/link.h").is_symlink()
    assert stamped.is_up_to_date()


def test_they_come_from_the_cache_with_what_is_declared(stamped: Tree) -> None:
    stamped.zbuild()
    shutil.rmtree(stamped.build / "gen")
    for name in ("stamp", "main.o", "app"):
        (stamped.build / name).unlink()

    run = stamped.zbuild()

    assert (run.all_remote, run.summary["executed"]) == (True, 0)
    assert (run.summary["actions"], run.summary["cache_hits"]) == (3, 3)
    assert (stamped.build / "gen/deep/two.h").is_file()


def test_a_changed_generator_replaces_them(stamped: Tree) -> None:
    stamped.zbuild()
    stamped.edit("generate.py", "#pragma once", "#pragma once /* again */")

    assert stamped.zbuild().all_remote
    assert "again" in stamped.text("gen/one.h")
    # Nothing had told of them when the compile was judged: as with ninja, the next build sees that they are newer.
    again = stamped.zbuild()
    assert (again.all_remote, again.summary["actions"]) == (True, 2)
    assert stamped.is_up_to_date()


def test_what_another_edge_makes_and_what_may_be_a_manifest_are_left_alone(tree: Tree, token: str) -> None:
    tree.write({"all.sh": f"echo {token} > one; echo wrong | tee two parts.ninja; echo it > free\n"})
    tree.manifest(
        """
        build one: sh all.sh
          cmd = sh all.sh
        build two: sh | one
          cmd = echo right > two
        """
    )

    assert tree.zbuild().all_remote
    assert (tree.text("two"), tree.text("free")) == ("right\n", "it\n")
    assert not (tree.build / "parts.ninja").exists()
    assert tree.is_up_to_date()


def test_those_of_a_command_that_runs_here_are_found_though_they_were_absent_before(tree: Tree, token: str) -> None:
    """The first compile has looked for the header, and the second is analysed with what is remembered of that."""
    tree.write(
        {
            "make.sh": f"mkdir gen; echo '#define SEEN {token}' > gen/late.h; echo > stamp\n",
            "early.c": '#if __has_include("gen/late.h")\n#include "gen/late.h"\n#endif\nint early;\n',
            "late.c": '#include "gen/late.h"\nint late = SEEN;\n',
        }
    )
    tree.manifest(
        """
        build early.o: cc early.c
        build stamp: sh make.sh || early.o
          cmd = sh make.sh
          generator = 1
        build late.o: cc late.c || stamp
        """
    )

    run = tree.zbuild()

    assert run.exit_code == 0, run.stderr
    assert run.summary["local_reasons"] == {"generator": 1}, "the compiles are remote"


def test_an_input_that_is_changed_in_place_is_changed(tree: Tree, token: str) -> None:
    """``strip`` behind a stamp: what is changed was made by another edge."""
    tree.write({"change.sh": "echo more >> made; echo > stamp\n"})
    tree.manifest(
        f"""
        build made: sh
          cmd = echo {token} > made
        build stamp: sh change.sh | made
          cmd = sh change.sh
        build read: sh made | stamp
          cmd = cat made > read
        """
    )

    run = tree.zbuild()

    assert tree.text("read") == f"{token}\nmore\n"
    assert run.summary["local_reasons"] == {"changes a file that it reads": 1}


def test_a_directory_that_is_made_empty_is_there(tree: Tree, token: str) -> None:
    tree.write({"make.sh": "mkdir -p empty/deep; echo > stamp\n"})
    tree.manifest(
        f"""
        build stamp: sh make.sh
          cmd = sh make.sh {token}
        build read: sh | stamp
          cmd = cd empty/deep && cp ../../make.sh ../../read
        """
    )

    assert tree.zbuild().exit_code == 0
    assert (tree.build / "empty/deep").is_dir()
    assert tree.text("read") == tree.text("make.sh")
